//! From the bytes of a file to records: lines, the parts of a container's
//! line joined, the lines of one record joined. Pure, and without memory: what
//! is not whole yet is left where it is and read again.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDateTime, TimeZone};
use chrono_tz::Tz;
use memchr::memchr;
use mscp_log_core::clean::cri;
use mscp_log_core::record::time::parse_rfc3339;
use regex::bytes::Regex;
use serde::Deserialize;

/// A record that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'l> {
    /// The byte of the file at which it begins.
    pub(super) offset: u64,
    /// What it says, without the line's end, in the file's encoding.
    pub(super) text: &'l [u8],
    /// The time that the container's runtime wrote.
    pub(super) time_us: Option<i64>,
    /// `stdout` or `stderr`, where the container's runtime wrote it.
    pub(super) stream: Option<&'static str>,
    /// Whether there was more than is read.
    pub(super) truncated: bool,
}

/// How a file's lines are made into records.
#[derive(Clone, Debug)]
pub struct Joining {
    /// Whether a container's runtime writes the file.
    pub container: bool,
    /// What the first line of a record looks like; others belong to the one
    /// before.
    pub start: Option<Regex>,
    /// Longest record, in bytes.
    pub max_bytes: usize,
}

/// Bytes of a file that were read together.
pub(super) struct Group<'g> {
    /// Where they begin in the file.
    pub(super) from: u64,
    pub(super) text: &'g [u8],
    /// Whether records that wait for more lines are taken as they are.
    pub(super) close: bool,
    /// Whether a last line without an end is taken.
    pub(super) unended: bool,
}

/// A record in the making.
struct Open<'g> {
    start: usize,
    end: usize,
    text: Cow<'g, [u8]>,
    time_us: Option<i64>,
    stream: Option<&'static str>,
    /// Bytes that were over the limit.
    cut: u64,
}

/// What each of a file's two streams has open: a line in parts, and a record
/// of several lines.
#[derive(Default)]
struct Stream<'g> {
    parts: Option<Open<'g>>,
    record: Option<Open<'g>>,
}

impl Joining {
    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Most bytes of one look: the longest record, with what a runtime writes
    /// around it.
    pub(super) fn window(&self) -> usize {
        2 * self.max_bytes + (64 << 10)
    }

    /// Hand over what is whole in `group`; returns how many of its bytes were
    /// taken. `cut` counts bytes of records over the limit.
    pub(super) fn take(
        &self,
        group: &Group<'_>,
        take: &mut impl FnMut(Line<'_>),
        cut: &mut u64,
    ) -> usize {
        if self.container || self.start.is_some() {
            self.join(group, take, cut)
        } else {
            self.split(group, take, cut)
        }
    }

    /// Every line a record.
    fn split(&self, group: &Group<'_>, take: &mut impl FnMut(Line<'_>), cut: &mut u64) -> usize {
        let mut at = 0;
        for (start, end, next) in lines(group) {
            let text = &group.text[start..end];
            let kept = &text[..text.len().min(self.max_bytes)];
            *cut += (text.len() - kept.len()) as u64;
            take(Line {
                offset: group.from + start as u64,
                text: kept,
                time_us: None,
                stream: None,
                truncated: kept.len() < text.len(),
            });
            at = next;
        }
        at
    }

    /// The head of a line that is too long to be read.
    pub(super) fn take_cut(&self, offset: u64, head: &[u8], take: &mut impl FnMut(Line<'_>)) {
        take(Line {
            offset,
            text: head,
            time_us: None,
            stream: None,
            truncated: true,
        });
    }

    fn join(&self, group: &Group<'_>, take: &mut impl FnMut(Line<'_>), cut: &mut u64) -> usize {
        let mut streams = [Stream::default(), Stream::default()];
        let mut whole: Vec<Open<'_>> = Vec::new();
        let mut end_of_lines = 0;
        for (start, end, next) in lines(group) {
            end_of_lines = next;
            let (mut line, partial) = self.line(&group.text[start..end]);
            (line.start, line.end) = (start, next);
            let stream = &mut streams[usize::from(line.stream == Some("stderr"))];
            let line = match stream.parts.take() {
                Some(before) => self.extend(before, &line, b""),
                None => line,
            };
            if partial {
                stream.parts = Some(line);
            } else {
                self.end_of_line(line, &mut stream.record, &mut whole);
            }
        }
        if group.close {
            for stream in &mut streams {
                if let Some(parts) = stream.parts.take() {
                    self.end_of_line(parts, &mut stream.record, &mut whole);
                }
                whole.extend(stream.record.take());
            }
        }
        // The position stands before everything that is open, and never in
        // the middle of a record whose lines lie between those of another.
        let open = streams.iter().flat_map(|stream| {
            let parts = stream.parts.as_ref().map(|open| open.start);
            parts
                .into_iter()
                .chain(stream.record.as_ref().map(|open| open.start))
        });
        let mut position = open.min().unwrap_or(end_of_lines);
        while let Some(across) = whole
            .iter()
            .filter(|record| record.start < position && record.end > position)
            .map(|record| record.start)
            .min()
        {
            position = across;
        }
        whole.retain(|record| record.start < position);
        whole.sort_by_key(|record| record.start);
        for record in &whole {
            *cut += record.cut;
            take(Line {
                offset: group.from + record.start as u64,
                text: &record.text,
                time_us: record.time_us,
                stream: record.stream,
                truncated: record.cut > 0,
            });
        }
        position
    }

    /// A line, and whether it goes on in the next one of its stream.
    fn line<'g>(&self, bytes: &'g [u8]) -> (Open<'g>, bool) {
        let mut line = Open {
            start: 0,
            end: 0,
            text: Cow::Borrowed(bytes),
            time_us: None,
            stream: None,
            cut: 0,
        };
        if !self.container {
            return (line, false);
        }
        if let Some(found) = cri::line(bytes) {
            line.text = Cow::Borrowed(found.content);
            line.time_us = Some(found.time_us);
            line.stream = Some(known_stream(found.stream));
            return (line, found.partial);
        }
        if let Some(found) = docker_line(bytes) {
            let whole = found.log.ends_with('\n');
            line.text = match found.log {
                Cow::Borrowed(log) => Cow::Borrowed(log.trim_end_matches(['\n', '\r']).as_bytes()),
                Cow::Owned(mut log) => {
                    log.truncate(log.trim_end_matches(['\n', '\r']).len());
                    Cow::Owned(log.into_bytes())
                }
            };
            line.time_us = parse_rfc3339(&found.time);
            line.stream = Some(known_stream(&found.stream));
            return (line, !whole);
        }
        (line, false)
    }

    /// `before` and what goes on in `line`, with `between` between them.
    fn extend<'g>(&self, mut before: Open<'g>, line: &Open<'g>, between: &[u8]) -> Open<'g> {
        let room = self.max_bytes.saturating_sub(before.text.len());
        let kept = line.text.len().min(room.saturating_sub(between.len()));
        if kept > 0 || line.text.is_empty() {
            let text = before.text.to_mut();
            text.extend_from_slice(between);
            text.extend_from_slice(&line.text[..kept]);
        }
        before.cut += line.cut + (line.text.len() - kept) as u64;
        before.end = line.end;
        before
    }

    /// A line of a stream is whole; a record may be, too.
    fn end_of_line<'g>(
        &self,
        mut line: Open<'g>,
        record: &mut Option<Open<'g>>,
        whole: &mut Vec<Open<'g>>,
    ) {
        if line.text.len() > self.max_bytes {
            line.cut += (line.text.len() - self.max_bytes) as u64;
            line.text = match line.text {
                Cow::Borrowed(text) => Cow::Borrowed(&text[..self.max_bytes]),
                Cow::Owned(mut text) => {
                    text.truncate(self.max_bytes);
                    Cow::Owned(text)
                }
            };
        }
        let Some(start) = &self.start else {
            whole.push(line);
            return;
        };
        match record.take() {
            Some(before) if !start.is_match(&line.text) => {
                *record = Some(self.extend(before, &line, b"\n"));
            }
            before => {
                whole.extend(before);
                *record = Some(line);
            }
        }
    }
}

/// Every line of a group: where it begins, where its text ends, and where the
/// next one begins. A `\r` before the end is no text.
fn lines<'g>(group: &Group<'g>) -> impl Iterator<Item = (usize, usize, usize)> + use<'g> {
    let (text, unended) = (group.text, group.unended);
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        let end = match memchr(b'\n', &text[start..]) {
            Some(end) => {
                at = start + end + 1;
                start + end
            }
            None if unended && start < text.len() => {
                at = text.len();
                text.len()
            }
            None => return None,
        };
        let end = match text[start..end].last() {
            Some(b'\r') => end - 1,
            _ => end,
        };
        Some((start, end, at))
    })
}

fn known_stream(name: &str) -> &'static str {
    if name == "stderr" { "stderr" } else { "stdout" }
}

/// A line of docker's json-file driver.
#[derive(Deserialize)]
struct DockerLine<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(borrow, default)]
    time: Cow<'a, str>,
}

fn docker_line(bytes: &[u8]) -> Option<DockerLine<'_>> {
    (bytes.first() == Some(&b'{'))
        .then(|| serde_json::from_slice(bytes).ok())
        .flatten()
}

/// The time that stands at the beginning of each line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeFormat {
    /// As `chrono::format::strftime` describes it.
    format: String,
    /// Where it names no zone.
    zone: Tz,
    has_zone: bool,
}

impl TimeFormat {
    /// A format of date, time and perhaps zone.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn new(format: &str, zone: Tz) -> Result<Self, String> {
        use chrono::format::{Fixed, Item, Numeric, StrftimeItems};
        let items: Vec<Item<'_>> = StrftimeItems::new(format).collect();
        if items.contains(&Item::Error) {
            return Err(format!(
                "expected a format such as %Y-%m-%d %H:%M:%S%.f, found {format:?}"
            ));
        }
        let has_zone = items.iter().any(|item| {
            matches!(
                item,
                Item::Fixed(
                    Fixed::TimezoneOffset
                        | Fixed::TimezoneOffsetZ
                        | Fixed::TimezoneOffsetColon
                        | Fixed::TimezoneOffsetColonZ
                        | Fixed::RFC2822
                        | Fixed::RFC3339
                ) | Item::Numeric(Numeric::Timestamp, _)
            )
        });
        let format = Self {
            format: format.to_owned(),
            zone,
            has_zone,
        };
        // Without a whole date and time nothing could ever be read.
        let example = DateTime::from_timestamp(1_516_792_419, 0).unwrap_or_default();
        let written = example.format(&format.format).to_string();
        if format.read(written.as_bytes()).is_none() {
            return Err(format!(
                "expected a whole date and time, found {:?}",
                format.format
            ));
        }
        Ok(format)
    }

    /// The time at the beginning of `text`, in microseconds since the epoch.
    pub(super) fn read(&self, text: &[u8]) -> Option<i64> {
        const LONGEST: usize = 100;
        let head = &text[..text.len().min(LONGEST)];
        let head = match std::str::from_utf8(head) {
            Ok(head) => head,
            Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).ok()?,
        };
        if self.has_zone {
            let (time, _) = DateTime::parse_and_remainder(head, &self.format).ok()?;
            return Some(time.timestamp_micros());
        }
        let (time, _) = NaiveDateTime::parse_and_remainder(head, &self.format).ok()?;
        let time = self.zone.from_local_datetime(&time).earliest()?;
        Some(time.timestamp_micros())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn plain(max_bytes: usize) -> Joining {
        Joining {
            container: false,
            start: None,
            max_bytes,
        }
    }

    fn container() -> Joining {
        Joining {
            container: true,
            ..plain(1 << 20)
        }
    }

    fn traces() -> Joining {
        Joining {
            start: Some(Regex::new("^[0-9]").unwrap()),
            ..plain(1 << 20)
        }
    }

    /// Records as (offset, text), bytes taken, bytes cut.
    fn taken(joining: &Joining, text: &str, close: bool) -> (Vec<(u64, String)>, usize, u64) {
        let (mut records, mut cut) = (Vec::new(), 0);
        let group = Group {
            from: 100,
            text: text.as_bytes(),
            close,
            unended: false,
        };
        let mut take = |line: Line<'_>| {
            let text = String::from_utf8(line.text.to_vec()).unwrap();
            records.push((line.offset - 100, text));
        };
        let bytes = joining.take(&group, &mut take, &mut cut);
        (records, bytes, cut)
    }

    fn record(offset: u64, text: &str) -> (u64, String) {
        (offset, text.to_owned())
    }

    #[test]
    fn a_line_ends_with_a_newline_and_a_return_before_it_is_not_of_it() {
        let (records, bytes, cut) = taken(&plain(100), "a\r\n\nb c\nrest", false);
        assert_eq!(records, [record(0, "a"), record(3, ""), record(4, "b c")]);
        assert_eq!((bytes, cut), (8, 0));
    }

    #[test]
    fn a_line_over_the_limit_is_cut_and_what_is_cut_is_counted() {
        let (records, bytes, cut) = taken(&plain(3), "abcdef\nx\n", false);
        assert_eq!(records, [record(0, "abc"), record(7, "x")]);
        assert_eq!((bytes, cut), (9, 3));
    }

    #[test]
    fn parts_of_a_containers_line_are_joined_by_stream() {
        let text = "2016-10-06T00:17:09Z stdout P one \n\
                    2016-10-06T00:17:09Z stderr F other\n\
                    2016-10-06T00:17:10Z stdout F line\n\
                    2016-10-06T00:17:11Z stdout P next\n";
        let (records, bytes, _) = taken(&container(), text, false);
        assert_eq!(records, [record(0, "one line"), record(35, "other")]);
        assert_eq!(bytes, text.rfind("2016").unwrap());
        let (records, bytes, _) = taken(&container(), text, true);
        assert_eq!(records.last().unwrap().1, "next");
        assert_eq!(bytes, text.len());
    }

    #[test]
    fn a_record_whose_lines_lie_around_an_open_one_is_not_taken_before_it() {
        let text = "2016-10-06T00:17:09Z stderr P a\n\
                    2016-10-06T00:17:09Z stdout P b\n\
                    2016-10-06T00:17:10Z stderr F c\n";
        let (records, bytes, _) = taken(&container(), text, false);
        assert_eq!((records.len(), bytes), (0, 0));
    }

    #[test]
    fn lines_of_dockers_json_files_are_joined_where_they_lack_a_newline() {
        let text = "{\"log\":\"one \",\"stream\":\"stdout\",\"time\":\"2016-10-06T00:17:09Z\"}\n\
                    {\"log\":\"line\\n\",\"stream\":\"stdout\",\"time\":\"2016-10-06T00:17:09Z\"}\n\
                    no form at all\n";
        let (records, bytes, _) = taken(&container(), text, false);
        let last = text.find("no form").unwrap() as u64;
        assert_eq!(
            records,
            [record(0, "one line"), record(last, "no form at all")]
        );
        assert_eq!(bytes, text.len());
    }

    #[test]
    fn lines_that_do_not_begin_a_record_belong_to_the_one_before() {
        let text = "1 error\n  at f\n  at g\n2 next\n  at h\n";
        let (records, bytes, _) = taken(&traces(), text, false);
        assert_eq!(records, [record(0, "1 error\n  at f\n  at g")]);
        assert_eq!(bytes, 22);
        let (records, bytes, _) = taken(&traces(), text, true);
        assert_eq!(records[1], record(22, "2 next\n  at h"));
        assert_eq!(bytes, text.len());
    }

    #[test]
    fn a_time_is_read_where_the_format_has_a_whole_one() {
        let utc = |format: &str| TimeFormat::new(format, Tz::UTC);
        let read = |format: &str, text: &str| utc(format).unwrap().read(text.as_bytes());
        let us = Some(1_516_792_419_231_000);
        assert_eq!(
            read("%Y-%m-%d %H:%M:%S%.f", "2018-01-24 11:13:39.231 INFO x"),
            us
        );
        assert_eq!(
            read("%Y-%m-%dT%H:%M:%S%.f%:z", "2018-01-24T19:13:39.231+08:00 x"),
            us
        );
        assert_eq!(read("%Y-%m-%d %H:%M:%S%.f", "at f()"), None);
        let shanghai = TimeFormat::new("[%d/%b/%Y:%H:%M:%S%.f]", Tz::Asia__Shanghai).unwrap();
        assert_eq!(shanghai.read(b"[24/Jan/2018:19:13:39.231] x"), us);
        for wrong in ["%H:%M", "%Q", "", "%Y-%m-%d"] {
            assert!(utc(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        /// Cut anywhere, read again from the position: the same records.
        #[test]
        fn records_do_not_depend_on_how_the_file_is_read(
            lines in proptest::collection::vec("([0-9]|2016-10-06T00:17:09Z std(out|err) [PF] )[a-c]{0,4}\r?", 0..12),
            cuts in proptest::collection::vec(0usize..400, 0..12),
            kind in 0..3usize,
        ) {
            let joining = [plain(1 << 20), container(), traces()][kind].clone();
            let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
            let (whole, _, _) = taken(&joining, &text, true);
            let mut cuts = cuts;
            cuts.sort_unstable();
            let (mut at, mut records) = (0, Vec::new());
            for end in cuts.into_iter().filter(|end| *end <= text.len()).chain([text.len()]) {
                let last = end == text.len();
                let (some, bytes, _) = taken(&joining, &text[at..end.max(at)], last);
                records.extend(some.into_iter().map(|(offset, line)| (offset + at as u64, line)));
                at += bytes;
            }
            records.sort();
            let mut whole = whole;
            whole.sort();
            prop_assert_eq!(records, whole);
        }
    }
}
