//! Lines of container log files in the format of the Container Runtime
//! Interface (KEP "CRI container logs"): `{time} {stream} {tags} {line}`.

use crate::record::time::parse_rfc3339;

/// One line of the file, which may be a part of a line of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The runtime's time, in microseconds since the epoch.
    pub time_us: i64,
    /// `stdout` or `stderr`.
    pub stream: &'a str,
    /// Whether the container's line goes on in the next line of this stream.
    pub partial: bool,
    /// What the container wrote, without a line's end.
    pub content: &'a [u8],
}

/// Take a line apart; `None` where it has another form.
///
/// ```
/// let line = mscp_log_core::clean::cri::line(
///     b"2016-10-06T00:17:09.669794202Z stdout P log content 1").unwrap();
/// assert!(line.partial);
/// assert_eq!(line.content, b"log content 1");
/// ```
#[must_use]
pub fn line(bytes: &[u8]) -> Option<Line<'_>> {
    let (time, rest) = split(bytes)?;
    let (stream, rest) = split(rest)?;
    // An empty line may lack the space behind its tags.
    let (tags, content) = split(rest).unwrap_or((rest, b""));
    let time_us = parse_rfc3339(std::str::from_utf8(time).ok()?)?;
    let stream = match stream {
        b"stdout" => "stdout",
        b"stderr" => "stderr",
        _ => return None,
    };
    let first_tag = tags.split(|byte| *byte == b':').next()?;
    let partial = match first_tag {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    Some(Line {
        time_us,
        stream,
        partial,
        content,
    })
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = memchr::memchr(b' ', bytes)?;
    Some((&bytes[..space], &bytes[space + 1..]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_tells_time_stream_and_whether_it_goes_on() {
        let whole = line(b"2016-10-06T00:17:09.669794202Z stderr F  a b ").unwrap();
        let expected = Line {
            time_us: 1_475_713_029_669_794,
            stream: "stderr",
            partial: false,
            content: b" a b ",
        };
        assert_eq!(whole, expected);
        assert!(
            line(b"2016-10-06T02:17:09+02:00 stdout P:x more")
                .unwrap()
                .partial
        );
        assert_eq!(line(b"2016-10-06T00:17:09Z stdout F").unwrap().content, b"");
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "no log",
            "2016-10-06 stdout F x",
            "2016-10-06T00:17:09Z stdin F x",
            "2016-10-06T00:17:09Z stdout X x",
            r#"{"log":"x","stream":"stdout","time":"2016-10-06T00:17:09Z"}"#,
        ] {
            assert_eq!(line(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = line(&bytes);
        }
    }
}
