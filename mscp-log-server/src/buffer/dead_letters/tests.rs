#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;

use super::*;

fn refused(document: &str) -> Refused {
    Refused {
        index: "logstash-http-local-2026.11.23".to_owned(),
        kind: "mapper_parsing_exception".to_owned(),
        reason: "failed to parse field [level]".to_owned(),
        document: Bytes::from(document.to_owned()),
    }
}

fn documents(letters: &DeadLetters) -> Vec<String> {
    let page = letters.page(None, 100).unwrap();
    page.iter()
        .map(|letter| String::from_utf8(document_of(letter).to_vec()).unwrap())
        .collect()
}

fn open(path: &Path) -> DeadLetters {
    DeadLetters::open(path, 1 << 20).unwrap()
}

#[test]
fn letters_are_paged_the_newest_first_and_are_there_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("below/letters");
    let letters = open(&path);
    for n in 0..5 {
        let document = format!(r#"{{"n":{n},"x":1.10}}"#);
        letters.add(&[refused(&document)], 1_000 + n).unwrap();
    }
    drop(letters);
    let letters = open(&path);
    let first = letters.page(None, 2).unwrap();
    let numbers: Vec<u64> = first.iter().map(|letter| letter.number).collect();
    assert_eq!(numbers, [5, 4]);
    assert_eq!(first[0].refused_ms, 1_004);
    assert_eq!(first[0].document.get(), r#"{"n":4,"x":1.10}"#);
    let rest = letters.page(Some(4), 10).unwrap();
    assert_eq!(rest.len(), 3);
    assert_eq!(letters.of_numbers(&[9, 2]).unwrap()[0].number, 2);
}

#[test]
fn what_is_no_json_is_kept_to_its_last_byte_of_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("letters");
    let texts = ["{\"a\":", "{\"a\":\n1}", "\"text\"", "", "é\u{0}"];
    let letters = open(&path);
    letters.add(&texts.map(refused), 1).unwrap();
    letters.add(&texts.map(refused), 2).unwrap();
    drop(letters);
    let letters = open(&path);
    letters.add(&texts.map(refused), 3).unwrap();
    let mut found = documents(&letters);
    found.reverse();
    assert_eq!(found, texts);
}

#[test]
fn a_document_that_is_refused_again_is_kept_once_until_it_was_taken_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("letters");
    let letters = open(&path);
    letters.add(&[refused("{}"), refused("{}")], 1).unwrap();
    letters.add(&[refused("{}")], 1).unwrap();
    assert_eq!(letters.kept().letters, 1);
    letters.remove(&[1, 7]).unwrap();
    assert_eq!(letters.kept(), Kept::default());
    drop(letters);
    let letters = open(&path);
    assert_eq!(letters.kept(), Kept::default());
    letters.add(&[refused("{}")], 1).unwrap();
    assert_eq!(letters.numbers(), [2]);
}

#[test]
fn letters_that_do_not_fit_are_refused_and_fit_when_others_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let letters = DeadLetters::open(&dir.path().join("letters"), 600).unwrap();
    let big = format!(r#"{{"a":"{}"}}"#, "x".repeat(300));
    letters.add(&[refused(&big)], 1).unwrap();
    let full = letters.add(&[refused("{\"b\":1}")], 1).unwrap_err();
    assert!(matches!(full, LettersError::Full { .. }), "{full}");
    letters.remove(&[1]).unwrap();
    letters.add(&[refused("{\"b\":1}")], 1).unwrap();
    assert_eq!(documents(&letters), ["{\"b\":1}"]);
}

#[test]
fn a_file_that_was_cut_anywhere_has_all_its_whole_letters() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("letters");
    let letters = open(&path);
    let ends: Vec<u64> = (0..4)
        .map(|n| {
            letters
                .add(&[refused(&format!("{{\"n\":{n}}}"))], n)
                .unwrap();
            fs::metadata(&path).unwrap().len()
        })
        .collect();
    drop(letters);
    let whole = fs::read(&path).unwrap();
    for cut in 0..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let letters = open(&path);
        let expected = ends.iter().filter(|end| **end <= cut as u64).count();
        assert_eq!(documents(&letters).len(), expected, "cut at {cut}");
        letters.add(&[refused("{\"new\":true}")], 9).unwrap();
        assert_eq!(documents(&open(&path))[0], "{\"new\":true}", "cut at {cut}");
    }
}

#[test]
fn a_damaged_letter_takes_no_other_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("letters");
    let letters = open(&path);
    for n in 0..3 {
        letters
            .add(&[refused(&format!("{{\"n\":{n}}}"))], n)
            .unwrap();
    }
    drop(letters);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(documents(&open(&path)), ["{\"n\":2}", "{\"n\":0}"]);
}

#[test]
fn a_file_that_is_mostly_taken_out_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("letters");
    let letters = DeadLetters::open(&path, 64 << 20).unwrap();
    let body = "x".repeat(200_000);
    for n in 0..12 {
        letters
            .add(&[refused(&format!("{{\"n\":{n},\"x\":\"{body}\"}}"))], n)
            .unwrap();
    }
    letters.remove(&(2..=12).collect::<Vec<_>>()).unwrap();
    assert!(fs::metadata(&path).unwrap().len() < 300_000);
    letters.add(&[refused("{\"n\":99}")], 1).unwrap();
    drop(letters);
    let letters = DeadLetters::open(&path, 64 << 20).unwrap();
    assert_eq!(letters.numbers(), [1, 13]);
    assert_eq!(documents(&letters)[0], "{\"n\":99}");
}

#[test]
fn a_document_that_is_refused_again_while_it_is_replayed_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("letters");
    let letters = open(&path);
    letters.add(&[refused("{}")], 1).unwrap();
    letters.release(&[1]);
    letters.add(&[refused("{}")], 2).unwrap();
    letters.remove(&[1]).unwrap();
    assert_eq!(letters.numbers(), [2]);
    letters.add(&[refused("{}")], 3).unwrap();
    assert_eq!(letters.numbers(), [2]);
    drop(letters);
    assert_eq!(open(&path).numbers(), [2]);
}
