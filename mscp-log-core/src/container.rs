//! Container names and what they say of where a record came from.
//!
//! Three forms: what the kubelet named docker containers up to 1.5
//! (`k8s_{container}.{hash}_{pod}_{namespace}_{uid}_{8 digits}`), what it named
//! them later (`k8s_{container}_{pod}_{namespace}_{uid}_{attempt}`), and the
//! links that it makes for every runtime
//! (`/var/log/containers/{pod}_{namespace}_{container}-{id}.log`).

/// The parts of a docker container name of the first form, in which the pod's
/// name is cut at its last hyphen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// The container in the pod.
    pub container: &'a str,
    /// The hash of the container's definition; the first form alone has it.
    pub containerid: Option<&'a str>,
    /// What made the pod.
    pub controler: &'a str,
    /// What was added to it for this pod.
    pub podid: &'a str,
    /// The pod's name: both, and the hyphen between them.
    pub pod: &'a str,
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod's uid.
    pub uuid: &'a str,
    /// Which start of the container it was: eight random digits in the first
    /// form, the count of restarts in the later one.
    pub resourceid: &'a str,
}

/// Take the name of a docker container apart, in the first form or the later.
///
/// `host` is the name of the machine, by which the pods of static manifests
/// are known (the kubelet adds it to their names).
///
/// ```
/// use mscp_log_core::container::docker;
/// let old = docker("k8s_web.905f3855_web-2035384211-x7k2p_shop_\
///     7cc96a84-7ece-6fad-70a9-8b9db56bd08d_01130b8b", "node1").unwrap();
/// assert_eq!((old.container, old.controler, old.podid), ("web", "web-2035384211", "x7k2p"));
/// let new = docker("k8s_web_web-5d4f8c7b9-x7k2p_shop_\
///     7cc96a84-7ece-6fad-70a9-8b9db56bd08d_0", "node1").unwrap();
/// assert_eq!((new.container, new.controler, new.podid), ("web", "web", "5d4f8c7b9-x7k2p"));
/// ```
#[must_use]
pub fn docker<'a>(name: &'a str, host: &str) -> Option<Name<'a>> {
    dotted(name).or_else(|| attempted(name, host))
}

const LETTER: u8 = 1; // A-Z and what is in none of the others
const WORD: u8 = 2; // a-z 0-9
const HEX: u8 = 4; // 0-9 a-f
const HYPHEN: u8 = 8;
/// `[a-zA-Z0-9\-]`.
const LABEL: u8 = LETTER | WORD | HYPHEN;

/// The classes that each byte is in.
const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        if b.is_ascii_uppercase() {
            table[byte] |= LETTER;
        }
        if b.is_ascii_lowercase() || b.is_ascii_digit() {
            table[byte] |= WORD;
        }
        if b.is_ascii_digit() || (b >= b'a' && b <= b'f') {
            table[byte] |= HEX;
        }
        if b == b'-' {
            table[byte] |= HYPHEN;
        }
        byte += 1;
    }
    table
};

/// The first form, exactly as the original's expression finds it: anywhere in
/// the name, the leftmost match.
///
/// No part can hold the character behind it, so a match that begins at a given
/// place can be only one, and no part is ever tried at two lengths.
#[must_use]
pub fn dotted(name: &str) -> Option<Name<'_>> {
    let bytes = name.as_bytes();
    if let Some(found) = dotted_at(name, 0) {
        return Some(found);
    }
    if bytes.len() < 2 {
        return None;
    }
    memchr::memmem::find_iter(&bytes[1..], b"k8s_").find_map(|start| dotted_at(name, start + 1))
}

fn dotted_at(name: &str, start: usize) -> Option<Name<'_>> {
    let bytes = name.as_bytes();
    if !bytes[start..].starts_with(b"k8s_") {
        return None;
    }
    let container = start + 4;
    let container_end = run(bytes, container, LABEL);
    expect(bytes, container, container_end, b'.')?;
    let containerid = container_end + 1;
    let containerid_end = run(bytes, containerid, HEX);
    expect(bytes, containerid, containerid_end, b'_')?;
    if !(6..=8).contains(&(containerid_end - containerid)) {
        return None;
    }
    let pod = containerid_end + 1;
    let pod_end = run(bytes, pod, LABEL);
    expect(bytes, pod, pod_end, b'_')?;
    // What is behind the last hyphen has no capital letter in it.
    let hyphen = pod
        + bytes[pod..pod_end]
            .iter()
            .rposition(|byte| CLASS[usize::from(*byte)] & WORD == 0)?;
    let podid = hyphen + 1;
    if bytes[hyphen] != b'-' || hyphen == pod || podid == pod_end {
        return None;
    }
    let namespace = pod_end + 1;
    let namespace_end = run(bytes, namespace, LABEL);
    expect(bytes, namespace, namespace_end, b'_')?;
    let uuid = namespace_end + 1;
    let uuid_end = uuid_end(bytes, uuid)?;
    if bytes.get(uuid_end) != Some(&b'_') {
        return None;
    }
    let resourceid = uuid_end + 1;
    let resourceid_end = resourceid + 8;
    if !hex(bytes.get(resourceid..resourceid_end)?) {
        return None;
    }
    // Every part is ASCII, so each cut is at the edge of a character.
    Some(Name {
        container: &name[container..container_end],
        containerid: Some(&name[containerid..containerid_end]),
        controler: &name[pod..hyphen],
        podid: &name[podid..pod_end],
        pod: &name[pod..pod_end],
        namespace: &name[namespace..namespace_end],
        uuid: &name[uuid..uuid_end],
        resourceid: &name[resourceid..resourceid_end],
    })
}

/// Where the bytes of `class` from `start` on end.
#[inline]
fn run(bytes: &[u8], start: usize, class: u8) -> usize {
    let rest = &bytes[start..];
    let other = rest
        .iter()
        .position(|byte| CLASS[usize::from(*byte)] & class == 0);
    start + other.unwrap_or(rest.len())
}

/// The part is not empty and `delimiter` is behind it.
#[inline]
fn expect(bytes: &[u8], start: usize, end: usize, delimiter: u8) -> Option<()> {
    (end > start && bytes.get(end) == Some(&delimiter)).then_some(())
}

#[inline]
fn hex(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |all, byte| {
        all & (CLASS[usize::from(*byte)] & HEX != 0)
    })
}

/// Where a uid of 8-4-4-4-12 hexadecimal digits, each hyphen there or not, ends.
fn uuid_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut place = start;
    for (group, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if group > 0 && bytes.get(place) == Some(&b'-') {
            place += 1;
        }
        if !hex(bytes.get(place..place + length)?) {
            return None;
        }
        place += length;
    }
    Some(place)
}

/// The later form: the whole name is `k8s_` and five parts.
fn attempted<'a>(name: &'a str, host: &str) -> Option<Name<'a>> {
    let mut parts = name.strip_prefix("k8s_")?.split('_');
    let mut next = || parts.next();
    let (container, pod, namespace, uuid, attempt) = (next()?, next()?, next()?, next()?, next()?);
    let holds = next().is_none()
        && is_label(container)
        && is_pod(pod)
        && is_label(namespace)
        && uuid_end(uuid.as_bytes(), 0) == Some(uuid.len())
        && (1..=10).contains(&attempt.len())
        && attempt.bytes().all(|byte| byte.is_ascii_digit());
    let (controler, podid) = holds.then(|| split_pod(pod, host))?;
    Some(Name {
        container,
        containerid: None,
        controler,
        podid,
        pod,
        namespace,
        uuid,
        resourceid: attempt,
    })
}

/// What the kubelet's link to a container's log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link<'a> {
    /// The pod's name.
    pub pod: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// The container in the pod.
    pub container: &'a str,
    /// The runtime's id of the container.
    pub id: &'a str,
}

/// Take the file name of a link in `/var/log/containers` apart; a folder
/// before it is left out.
///
/// ```
/// let link = mscp_log_core::container::link(
///     "/var/log/containers/db-0_shop_postgres-905f3855905f3855.log").unwrap();
/// assert_eq!((link.pod, link.namespace, link.container), ("db-0", "shop", "postgres"));
/// ```
#[must_use]
pub fn link(path: &str) -> Option<Link<'_>> {
    let file = path.rsplit('/').next()?.strip_suffix(".log")?;
    let (pod, rest) = file.split_once('_')?;
    let (namespace, rest) = rest.split_once('_')?;
    let (container, id) = rest.rsplit_once('-')?;
    let holds = is_pod(pod)
        && is_label(namespace)
        && is_label(container)
        && (8..=128).contains(&id.len())
        && hex(id.as_bytes());
    holds.then_some(Link {
        pod,
        namespace,
        container,
        id,
    })
}

/// What the place of a container's log below `/var/log/pods` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodLog<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// Its name.
    pub pod: &'a str,
    /// Its uid.
    pub uuid: &'a str,
    /// The container in the pod.
    pub container: &'a str,
    /// The count of its restarts.
    pub attempt: &'a str,
}

/// Take `/var/log/pods/{namespace}_{pod}_{uid}/{container}/{attempt}.log`
/// apart: what a link in `/var/log/containers` leads to.
#[must_use]
pub fn pod_log(path: &str) -> Option<PodLog<'_>> {
    let mut parts = path.rsplit('/');
    let file = parts.next()?;
    let container = parts.next()?;
    let PodDir {
        namespace,
        pod,
        uuid,
    } = pod_dir(parts.next()?)?;
    // A rotated file has its time behind the name: `0.log.20261123-031800`.
    let (attempt, _) = file.split_once(".log")?;
    let holds = is_label(container)
        && !attempt.is_empty()
        && attempt.bytes().all(|byte| byte.is_ascii_digit());
    holds.then_some(PodLog {
        namespace,
        pod,
        uuid,
        container,
        attempt,
    })
}

/// What the name of a pod's folder below `/var/log/pods` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodDir<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// Its name.
    pub pod: &'a str,
    /// Its uid.
    pub uuid: &'a str,
}

/// Take `{namespace}_{pod}_{uid}` apart.
#[must_use]
pub fn pod_dir(name: &str) -> Option<PodDir<'_>> {
    let mut parts = name.split('_');
    let (namespace, pod, uuid) = (parts.next()?, parts.next()?, parts.next()?);
    let holds = parts.next().is_none()
        && is_label(namespace)
        && is_pod(pod)
        && uuid_end(uuid.as_bytes(), 0) == Some(uuid.len());
    holds.then_some(PodDir {
        namespace,
        pod,
        uuid,
    })
}

/// Cut a pod's name into what made it and what was added for this pod.
///
/// - static manifests: the kubelet adds the node's name
///   (`kube-proxy-node1.example.com` on `node1.example.com`);
/// - Deployments: the hash of the ReplicaSet and five characters. The hash is
///   decimal up to Kubernetes 1.11 and of `4-9 b c d f` since (a number,
///   written in the alphabet of random names). A CronJob adds a decimal time
///   and five characters, which is the same shape;
/// - DaemonSets, Jobs (five characters), StatefulSets (a number), and all else:
///   what is behind the last hyphen, as in the original.
///
/// A name without a hyphen made itself and nothing was added.
///
/// ```
/// use mscp_log_core::container::split_pod;
/// assert_eq!(split_pod("web-5d4f8c7b9-x7k2p", ""), ("web", "5d4f8c7b9-x7k2p"));
/// assert_eq!(split_pod("db-0", ""), ("db", "0"));
/// ```
#[must_use]
pub fn split_pod<'a>(pod: &'a str, host: &str) -> (&'a str, &'a str) {
    let short = host.split('.').next().unwrap_or_default();
    for node in [host, short] {
        let before = pod
            .strip_suffix(node)
            .and_then(|rest| rest.strip_suffix('-'));
        if let Some(controler) = before.filter(|rest| !rest.is_empty() && !node.is_empty()) {
            return (controler, &pod[controler.len() + 1..]);
        }
    }
    let Some((before, last)) = pod.rsplit_once('-') else {
        return (pod, "");
    };
    if let Some((controler, hash)) = before.rsplit_once('-')
        && !controler.is_empty()
        && is_generated(last)
        && is_template_hash(hash)
    {
        return (controler, &pod[controler.len() + 1..]);
    }
    (before, last)
}

/// Five characters of the alphabet of generated names: no vowels, and none of
/// 0, 1 and 3.
fn is_generated(text: &str) -> bool {
    text.len() == 5
        && text
            .bytes()
            .all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
}

/// The hash of a pod template, or the time of a CronJob.
fn is_template_hash(text: &str) -> bool {
    let encoded = text.bytes().all(|byte| b"456789bcdf".contains(&byte));
    let decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    (6..=10).contains(&text.len()) && (encoded || decimal)
}

fn is_label(text: &str) -> bool {
    !text.is_empty() && run(text.as_bytes(), 0, LABEL) == text.len()
}

/// A pod's name is a DNS subdomain: labels with dots between them.
fn is_pod(text: &str) -> bool {
    !text.is_empty() && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    /// The expression of the original, letter by letter.
    static ORIGINAL: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"k8s_(?<container>[a-zA-Z0-9\-]+)\.(?<containerid>[0-9a-f]{6,8})_(?<controler>[a-zA-Z0-9\-]+)-(?<podid>[a-z0-9]+)_(?<namespace>[a-zA-Z0-9\-]+)_(?<uuid>[0-9a-f]{8}-{0,1}[0-9a-f]{4}-{0,1}[0-9a-f]{4}-{0,1}[0-9a-f]{4}-{0,1}[0-9a-f]{12})_(?<resourceid>[0-9a-f]{8})").unwrap()
    });

    fn by_the_original(name: &str) -> Option<[&str; 7]> {
        let found = ORIGINAL.captures(name)?;
        let names = [
            "container",
            "containerid",
            "controler",
            "podid",
            "namespace",
            "uuid",
            "resourceid",
        ];
        Some(names.map(|part| found.name(part).unwrap().as_str()))
    }

    fn by_hand(name: &str) -> Option<[&str; 7]> {
        let parts = dotted(name)?;
        assert_eq!(parts.pod, format!("{}-{}", parts.controler, parts.podid));
        Some([
            parts.container,
            parts.containerid.unwrap(),
            parts.controler,
            parts.podid,
            parts.namespace,
            parts.uuid,
            parts.resourceid,
        ])
    }

    const WHOLE: &str = "k8s_[a-zA-Z0-9-]{1,8}\\.[0-9a-f]{6,8}_[a-zA-Z0-9-]{1,8}-[a-z0-9]{1,5}_[a-zA-Z0-9-]{1,6}_[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}_[0-9a-f]{8}";

    /// Pieces of names, so that parts, wrong parts and new beginnings meet.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("k8s_".to_owned()),
            Just("k8s".to_owned()),
            Just("_".to_owned()),
            Just(".".to_owned()),
            Just("-".to_owned()),
            Just("é".to_owned()),
            Just("7cc96a847ece6fad70a98b9db56bd08d".to_owned()),
            Just("7cc96a84-7ece-6fad-70a9-8b9db56bd08d".to_owned()),
            Just("7cc96a84-7ece-6fad70a9-8b9db56bd08d".to_owned()),
            Just("01130b8b".to_owned()),
            "[0-9a-f]{5,9}",
            "[a-zA-Z0-9-]{1,4}",
            "[a-z0-9]{1,3}",
            Just("_k8s_a.905f3855_b-c_d_".to_owned()),
        ];
        proptest::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn whole_names_are_taken_apart_as_the_original_does(name in WHOLE) {
            prop_assert!(by_hand(&name).is_some());
            prop_assert_eq!(by_hand(&name), by_the_original(&name));
        }

        #[test]
        fn names_with_something_around_them_are_found_as_the_original_does(
            before in "(k8s_|[a-z._-]){0,4}", name in WHOLE, after in ".{0,4}", again in WHOLE,
        ) {
            let name = format!("{before}{name}{after}{again}");
            prop_assert_eq!(by_hand(&name), by_the_original(&name));
        }

        #[test]
        fn mutated_names_are_taken_apart_as_the_original_does(
            name in WHOLE,
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), 0_u8..3, "[a-gA-Z0-9._é-]"), 1..4),
        ) {
            let mut chars: Vec<char> = name.chars().collect();
            for (place, kind, with) in changes {
                let place = place.index(chars.len());
                let with = with.chars().next().unwrap();
                match kind {
                    0 => chars[place] = with,
                    1 => chars.insert(place, with),
                    _ => { chars.remove(place); }
                }
            }
            let name: String = chars.into_iter().collect();
            prop_assert_eq!(by_hand(&name), by_the_original(&name), "{}", name);
        }

        #[test]
        fn names_of_random_pieces_are_taken_apart_as_the_original_does(name in pieces()) {
            prop_assert_eq!(by_hand(&name), by_the_original(&name), "{}", name);
        }

        #[test]
        fn random_bytes_are_taken_apart_as_the_original_does(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let name = String::from_utf8_lossy(&bytes);
            prop_assert_eq!(by_hand(&name), by_the_original(&name));
            let _ = (docker(&name, ""), link(&name), pod_log(&name), pod_dir(&name));
        }

        #[test]
        fn what_made_a_pod_and_what_was_added_make_its_name(pod in "[a-z0-9.-]{0,20}", host in "[a-z0-9.]{0,6}") {
            let (controler, podid) = split_pod(&pod, &host);
            if podid.is_empty() && !pod.ends_with('-') {
                prop_assert_eq!(controler, &pod);
            } else {
                prop_assert_eq!(&format!("{controler}-{podid}"), &pod);
            }
        }

        #[test]
        fn a_later_name_is_taken_apart_into_what_it_was_made_of(
            container in "[a-z0-9-]{1,10}", pod in "[a-z0-9-]{1,10}(\\.[a-z0-9]{1,4})?",
            namespace in "[a-z0-9-]{1,8}", uid in "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            attempt in 0_u32..1_000,
        ) {
            let attempt = attempt.to_string();
            let name = format!("k8s_{container}_{pod}_{namespace}_{uid}_{attempt}");
            let parts = docker(&name, "").unwrap();
            prop_assert_eq!(
                (parts.container, parts.pod, parts.namespace, parts.uuid, parts.resourceid),
                (&*container, &*pod, &*namespace, &*uid, &*attempt)
            );
        }

        #[test]
        fn a_link_is_taken_apart_into_what_it_was_made_of(
            container in "[a-z0-9-]{1,10}", pod in "[a-z0-9-]{1,10}(\\.[a-z0-9]{1,4})?",
            namespace in "[a-z0-9-]{1,8}", id in "[0-9a-f]{64}",
        ) {
            let path = format!("/var/log/containers/{pod}_{namespace}_{container}-{id}.log");
            let expected = Link { pod: &pod, namespace: &namespace, container: &container, id: &id };
            prop_assert_eq!(link(&path), Some(expected));
        }
    }

    #[test]
    fn a_long_name_full_of_beginnings_is_read_in_linear_time() {
        let name = "k8s_a.123456_b-k8s".repeat(50_000);
        assert_eq!(dotted(&name), None);
    }

    #[track_caller]
    fn check(pod: &str, host: &str, controler: &str, podid: &str) {
        assert_eq!(split_pod(pod, host), (controler, podid), "{pod} on {host}");
    }

    #[test]
    fn pods_of_each_kind_of_controller_are_cut_where_the_controller_added() {
        check("web-5d4f8c7b9-x7k2p", "node1", "web", "5d4f8c7b9-x7k2p");
        check("web-2035384211-x7k2p", "node1", "web", "2035384211-x7k2p");
        check("kube-proxy-x7k2p", "node1", "kube-proxy", "x7k2p");
        check("web-cdn-x7k2p", "node1", "web-cdn", "x7k2p");
        check("db-0", "node1", "db", "0");
        check("my-db-12", "node1", "my-db", "12");
        check("backup-x7k2p", "node1", "backup", "x7k2p");
        check("backup-28391820-x7k2p", "node1", "backup", "28391820-x7k2p");
        check(
            "kube-apiserver-node1",
            "node1.example.com",
            "kube-apiserver",
            "node1",
        );
        check(
            "kube-apiserver-kvm-009660",
            "kvm-009660.novalocal",
            "kube-apiserver",
            "kvm-009660",
        );
        check(
            "etcd-node1.example.com",
            "node1.example.com",
            "etcd",
            "node1.example.com",
        );
        check("bare", "node1", "bare", "");
        check("-node1", "node1", "", "node1");
    }

    #[test]
    fn the_pods_folder_tells_namespace_pod_and_uid() {
        let path = "/var/log/pods/shop_db-0_7cc96a84-7ece-6fad-70a9-8b9db56bd08d/postgres/3.log";
        let expected = PodLog {
            namespace: "shop",
            pod: "db-0",
            uuid: "7cc96a84-7ece-6fad-70a9-8b9db56bd08d",
            container: "postgres",
            attempt: "3",
        };
        assert_eq!(pod_log(path), Some(expected));
        assert_eq!(pod_log(&format!("{path}.20261123-031800")), Some(expected));
        assert_eq!(pod_log("/var/log/pods/shop/postgres/3.log"), None);
        assert_eq!(pod_log("3.log"), None);
    }
}
