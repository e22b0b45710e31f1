//! The one list of what only reads: endpoints by method and path. Whatever is
//! not on it counts as changing the store.

use http::Method;

/// What a request asks of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `GET` and `HEAD` of the root.
    Handshake,
    /// `_search`, of the index expression where one is in the path.
    Search(Option<String>),
    /// `_msearch`
    Msearch(Option<String>),
    /// `_count`
    Count(Option<String>),
    /// `_field_caps`
    FieldCaps(Option<String>),
    /// `_mapping` as a whole.
    Mapping(Option<String>),
    /// `_cluster/health`
    ClusterHealth,
    /// `_license`
    License,
    /// Scrolls and points in time.
    Cursor(Cursor),
    /// Anything else that only reads.
    Other,
    /// Everything that is not known to only read.
    Change,
}

impl Endpoint {
    /// The name of a search, for what is measured of it.
    pub(super) fn searches(&self) -> Option<&'static str> {
        match self {
            Self::Search(_) => Some("search"),
            Self::Msearch(_) => Some("msearch"),
            Self::Count(_) => Some("count"),
            Self::Cursor(_) => Some("cursor"),
            _ => None,
        }
    }
}

/// What is asked of a scroll or a point in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cursor {
    /// `_search/scroll`, of the id in the path where one is: the next page,
    /// with DELETE the end.
    Scroll(Option<String>),
    /// A point in time of these indices.
    OpenPit {
        /// The index expression.
        index: String,
        /// `_pit`, or as OpenSearch has it.
        path: &'static str,
    },
    /// The end of one, or of several.
    ClosePit {
        /// As in `OpenPit`.
        path: &'static str,
    },
}

/// The paths of points in time, of Elasticsearch and of OpenSearch.
const PITS: [&str; 2] = ["_pit", "_search/point_in_time"];

/// What a request is, by the path behind `log`.
pub(super) fn classify(method: &Method, segments: &[&str]) -> Endpoint {
    let get = matches!(*method, Method::GET | Method::HEAD);
    let search = *method == Method::GET || *method == Method::POST;
    let delete = *method == Method::DELETE;
    let post = *method == Method::POST;
    let (index, rest) = match segments {
        [] if get => return Endpoint::Handshake,
        [] => return Endpoint::Change,
        [first, rest @ ..] if !first.starts_with('_') || *first == "_all" => {
            (Some((*first).to_owned()), rest)
        }
        _ => (None, segments),
    };
    match (&index, rest) {
        (_, ["_search"]) if search => Endpoint::Search(index),
        (_, ["_msearch"]) if search => Endpoint::Msearch(index),
        (_, ["_count"]) if search => Endpoint::Count(index),
        (_, ["_field_caps"]) if search => Endpoint::FieldCaps(index),
        (_, ["_mapping" | "_mappings"]) if get => Endpoint::Mapping(index),
        (None, ["_cluster", "health"] | ["_cluster", "health", _]) if get => {
            Endpoint::ClusterHealth
        }
        (None, ["_license"] | ["_xpack", "license"]) if get => Endpoint::License,

        (None, ["_search", "scroll"]) if search || delete => Endpoint::Cursor(Cursor::Scroll(None)),
        // `_all` would end the scrolls of everyone.
        (None, ["_search", "scroll", id]) if (search || delete) && *id != "_all" => {
            Endpoint::Cursor(Cursor::Scroll(Some((*id).to_owned())))
        }
        (_, rest) if pit(rest).is_some() => match (index, pit(rest)) {
            (Some(index), Some(path)) if post => Endpoint::Cursor(Cursor::OpenPit { index, path }),
            (None, Some(path)) if delete => Endpoint::Cursor(Cursor::ClosePit { path }),
            _ => Endpoint::Change,
        },

        (_, ["_mget" | "_analyze" | "_terms_enum"] | ["_validate", "query"]) if search => {
            Endpoint::Other
        }
        (Some(_), ["_doc" | "_source", _]) if get => Endpoint::Other,
        (Some(_), ["_explain", _]) if search => Endpoint::Other,
        (Some(_), []) if get => Endpoint::Other,
        (
            _,
            ["_mapping", "field", _]
            | ["_alias" | "_settings" | "_stats"]
            | ["_alias" | "_settings" | "_stats", _],
        ) if get => Endpoint::Other,
        (None, ["_resolve", "index", _] | ["_cat"] | ["_cat", ..]) if get => Endpoint::Other,
        _ => Endpoint::Change,
    }
}

fn pit(rest: &[&str]) -> Option<&'static str> {
    PITS.into_iter()
        .find(|path| rest.iter().copied().eq(path.split('/')))
}

/// Whether the body may name indices of its own, although the path names some.
/// Elasticsearch 6 and 7 take a type between the index and the endpoint, and
/// templates and term vectors come in many too.
pub(super) fn names_more_indices(segments: &[&str]) -> bool {
    let in_bodies =
        |segment: &&str| matches!(*segment, "_msearch" | "_mget" | "_bulk" | "_mtermvectors");
    matches!(segments, [index, rest @ ..]
        if (!index.starts_with('_') || *index == "_all") && rest.iter().any(in_bodies))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &str, path: &str, expected: &Endpoint) {
        let method: Method = method.parse().unwrap_or(Method::TRACE);
        let segments: Vec<&str> = path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .collect();
        assert_eq!(classify(&method, &segments), *expected, "{method} {path}");
    }

    #[test]
    fn what_reads_is_known_and_all_else_changes() {
        let index = || Some("a*,-b".to_owned());
        check("GET", "/", &Endpoint::Handshake);
        check("HEAD", "/", &Endpoint::Handshake);
        check("POST", "/a*,-b/_search", &Endpoint::Search(index()));
        check(
            "GET",
            "/_all/_search",
            &Endpoint::Search(Some("_all".to_owned())),
        );
        check("GET", "/_msearch", &Endpoint::Msearch(None));
        check("POST", "/a*,-b/_count", &Endpoint::Count(index()));
        check("POST", "/_field_caps", &Endpoint::FieldCaps(None));
        check("GET", "/a*,-b/_mapping", &Endpoint::Mapping(index()));
        check("GET", "/_cluster/health/a", &Endpoint::ClusterHealth);
        check("GET", "/_license", &Endpoint::License);
        let cursor = Endpoint::Cursor;
        let id = Some("id".to_owned());
        check("DELETE", "/_search/scroll", &cursor(Cursor::Scroll(None)));
        check("GET", "/_search/scroll/id", &cursor(Cursor::Scroll(id)));
        for path in PITS {
            let open = Cursor::OpenPit {
                index: "a".to_owned(),
                path,
            };
            check("POST", &format!("/a/{path}"), &cursor(open));
            check(
                "DELETE",
                &format!("/{path}"),
                &cursor(Cursor::ClosePit { path }),
            );
        }
        for path in [
            "/a/_doc/1",
            "/_mget",
            "/_cat/indices",
            "/_stats",
            "/a/_stats/docs",
            "/a",
            "/a/_mapping/field/b",
        ] {
            check("GET", path, &Endpoint::Other);
        }
        for (method, path) in [
            ("POST", "/"),
            ("PUT", "/a/_search"),
            ("DELETE", "/a/_search"),
            ("DELETE", "/_search/scroll/_all"),
            ("DELETE", "/_search/point_in_time/_all"),
            ("GET", "/_search/point_in_time/_all"),
            ("DELETE", "/a/_pit"),
            ("POST", "/_pit"),
            ("POST", "/a/_doc/1"),
            ("POST", "/a/_doc"),
            ("PUT", "/a"),
            ("DELETE", "/a"),
            ("POST", "/_bulk"),
            ("POST", "/a/_bulk"),
            ("POST", "/a/_delete_by_query"),
            ("POST", "/a/_update/1"),
            ("POST", "/_reindex"),
            ("PUT", "/a/_mapping"),
            ("POST", "/_aliases"),
            ("POST", "/_refresh"),
            ("GET", "/_nodes"),
            ("GET", "/_snapshot/a"),
            ("GET", "/_cluster/settings"),
            ("GET", "/_security/user"),
            ("GET", "/_search/template"),
            ("OPTIONS", "/_search"),
            ("GET", "/a/b/_search"),
        ] {
            check(method, path, &Endpoint::Change);
        }
    }

    #[test]
    fn bodies_that_name_indices_are_known_whatever_stands_before_them() {
        for path in [
            "a/_msearch",
            "_all/_mget",
            "a/_bulk",
            // A type, as Elasticsearch 6 and 7 have it.
            "a/doc/_bulk",
            "a/_doc/_mget",
            "a/_msearch/template",
            "a/_mtermvectors",
        ] {
            let segments: Vec<&str> = path.split('/').collect();
            assert!(names_more_indices(&segments), "{path}");
        }
        for path in ["_msearch", "a/_search", "a/_doc/_bulky", "_bulk"] {
            let segments: Vec<&str> = path.split('/').collect();
            assert!(!names_more_indices(&segments), "{path}");
        }
    }
}
