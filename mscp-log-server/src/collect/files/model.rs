//! The reader against a file system that a property makes up: files that are
//! written, rotated, truncated, deleted and made anew with the same inode at
//! any moment, also between two questions of one look, and an agent that is
//! killed, and whose source is switched off and on, at any moment.
//!
//! Every line is one of its kind. At the end each has been kept exactly once,
//! but for those that were excused at the moment when they were truncated or
//! deleted; and those of one file have been kept in their order.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io;
use std::rc::Rc;

use mscp_log_core::clean::Raw;
use mscp_log_core::clean::chunk::{self, Chunk, FileKind, Head};
use proptest::prelude::*;

use super::follow::Key;
use super::lines::Joining;
use super::reader::{Disk, Found, Heads, Limits, Reader, Reading, Scan, Stat};
use crate::collect::keep::{Item, Positions, is_place};

const NAMES: [&str; 3] = ["/d/a.log", "/d/b.log", "/d/c.log"];

#[derive(Clone, Debug)]
enum Op {
    /// Write whole lines of this many more bytes each.
    Write(usize, Vec<usize>),
    /// Write a line that is not whole yet.
    Begin(usize),
    /// Rename it, and those that were renamed before; make it anew.
    Rotate(usize),
    CopyTruncate(usize),
    Delete(usize),
    /// Make it anew, with an inode that is free.
    Create(usize),
    Scan,
    /// Word of everything that was written.
    Hear,
    Turns(usize),
    /// Make durable some of what was handed over.
    Keep(usize),
    /// Write the positions.
    Save,
    Wait,
    Crash,
    /// Switch the source off, or on.
    Switch,
}

fn op() -> impl Strategy<Value = Op> {
    let name = 0..NAMES.len();
    prop_oneof![
        5 => (name.clone(), prop::collection::vec(0usize..90, 1..5)).prop_map(|(name, lines)| Op::Write(name, lines)),
        2 => name.clone().prop_map(Op::Begin),
        // A file is rotated in one way or in the other.
        2 => (0..2usize).prop_map(Op::Rotate),
        1 => Just(Op::CopyTruncate(2)),
        1 => name.clone().prop_map(Op::Delete),
        1 => name.prop_map(Op::Create),
        3 => Just(Op::Scan),
        3 => Just(Op::Hear),
        5 => (1usize..5).prop_map(Op::Turns),
        4 => (1usize..5).prop_map(Op::Keep),
        1 => Just(Op::Save),
        1 => Just(Op::Wait),
        1 => Just(Op::Crash),
        1 => Just(Op::Switch),
    ]
}

/// A file, as long as it has a name or is open.
#[derive(Debug, Default)]
struct Inode {
    number: u64,
    birth_us: i64,
    modified_us: i64,
    content: Vec<u8>,
    links: usize,
    /// Lines by number, with the times that the content began anew.
    lines: Vec<(u64, u32)>,
    truncations: u32,
    partial: bool,
}

type File = Rc<RefCell<Inode>>;

/// A time by the clock of the file system, which ticks seldom.
fn coarse(now_us: i64) -> i64 {
    now_us / TICK_US * TICK_US
}

const TICK_US: i64 = 20_000;

/// The file system, and what is true of every line.
#[derive(Default)]
struct World {
    births: bool,
    device: u64,
    names: BTreeMap<String, File>,
    files: Vec<File>,
    /// Which files, by number and birth, the reader had open before this step.
    open: HashSet<(u64, i64)>,
    /// What has neither a name nor is open.
    gone: Vec<File>,
    now_us: i64,
    next_line: u64,
    excused: HashSet<u64>,
    kept: HashSet<u64>,
    written: HashSet<String>,
    /// What happens between the questions of the reader: after so many more.
    between: VecDeque<(usize, Op)>,
    questions: usize,
    /// Above every number that was used.
    used: u64,
}

impl World {
    fn tick(&mut self) -> i64 {
        self.now_us += 1_000;
        self.now_us
    }

    fn excuse(&mut self, file: &File) {
        let file = file.borrow();
        let kept = &self.kept;
        let open = file.lines.iter().map(|(line, _)| *line);
        self.excused
            .extend(open.filter(|line| !kept.contains(line)));
    }

    fn look_who_is_open(&mut self) {
        // One share is here, and one with the name.
        let open = self
            .files
            .iter()
            .filter(|file| Rc::strong_count(file) > 1 + file.borrow().links);
        let open = open.map(|file| (file.borrow().number, file.borrow().birth_us));
        self.open = open.collect();
    }

    fn unlink(&mut self, name: &str) {
        let Some(file) = self.names.remove(name) else {
            return;
        };
        file.borrow_mut().links -= 1;
        // What is open while it is looked at for another reason is not followed.
        let id = (file.borrow().number, file.borrow().birth_us);
        if !self.open.contains(&id) || Rc::strong_count(&file) <= 2 {
            self.excuse(&file);
        }
    }

    fn create(&mut self, name: &str) {
        if self.names.contains_key(name) {
            return;
        }
        // The lowest number that is free, so that numbers are used again.
        let (here, gone) = std::mem::take(&mut self.files)
            .into_iter()
            .partition(|file| file.borrow().links > 0 || Rc::strong_count(file) > 1);
        self.files = here;
        self.gone.extend::<Vec<File>>(gone);
        // A clock of files is coarse: some are born at the same time. None of these has
        // the number of another, which a file system that reuses one so soon could do.
        let birth_us = coarse(self.tick());
        let gone = self
            .gone
            .iter()
            .filter(|file| file.borrow().birth_us == birth_us);
        let used: HashSet<u64> = (self.files.iter().chain(gone))
            .map(|file| file.borrow().number)
            .collect();
        // Without births a number that is used again can be told by content
        // only, which is not always enough: there it is not promised.
        let first = if self.births { 1 } else { self.used };
        let number = (first..).find(|number| !used.contains(number)).unwrap();
        self.used = self.used.max(number + 1);
        let file = Rc::new(RefCell::new(Inode {
            number,
            birth_us,
            modified_us: self.now_us,
            links: 1,
            ..Inode::default()
        }));
        self.files.push(Rc::clone(&file));
        self.names.insert(name.to_owned(), file);
    }

    fn append(&mut self, name: &str, bytes: &[u8]) {
        let now_us = self.tick();
        let mut file = self.names[name].borrow_mut();
        file.content.extend_from_slice(bytes);
        file.modified_us = now_us;
        drop(file);
        self.written.insert(name.to_owned());
    }

    fn end_line(&mut self, name: &str) {
        let partial = std::mem::take(&mut self.names[name].borrow_mut().partial);
        if partial {
            self.append(name, b"\n");
        }
    }

    fn begin_line(&mut self, name: &str, more: usize) {
        let line = self.next_line;
        self.next_line += 1;
        {
            let mut file = self.names[name].borrow_mut();
            let truncations = file.truncations;
            file.lines.push((line, truncations));
        }
        self.append(name, format!("{line} {}", "x".repeat(more)).as_bytes());
    }

    /// What somebody else does to the files.
    fn apply(&mut self, op: &Op) {
        let name = |which: &usize| NAMES[*which];
        match op {
            Op::Write(which, lines) if self.names.contains_key(name(which)) => {
                self.end_line(name(which));
                for more in lines {
                    self.begin_line(name(which), *more);
                    self.append(name(which), b"\n");
                }
            }
            Op::Begin(which) if self.names.contains_key(name(which)) => {
                self.end_line(name(which));
                self.begin_line(name(which), 3);
                self.names[name(which)].borrow_mut().partial = true;
            }
            Op::Rotate(which) if self.names.contains_key(name(which)) => {
                self.end_line(name(which));
                let rotated = |number: usize| format!("{}.{number}", name(which));
                self.unlink(&rotated(3));
                for number in [2, 1] {
                    if let Some(file) = self.names.remove(&rotated(number)) {
                        self.names.insert(rotated(number + 1), file);
                    }
                }
                let file = self.names.remove(name(which)).unwrap();
                self.names.insert(rotated(1), file);
                self.create(name(which));
            }
            Op::CopyTruncate(which) if self.names.contains_key(name(which)) => {
                self.end_line(name(which));
                let file = Rc::clone(&self.names[name(which)]);
                let copy = format!("{}.1", name(which));
                self.unlink(&copy);
                self.create(&copy);
                let content = file.borrow().content.clone();
                self.append(&copy, &content);
                self.excuse(&file);
                let now_us = self.tick();
                let mut file = file.borrow_mut();
                file.content.clear();
                file.truncations += 1;
                file.modified_us = now_us;
            }
            Op::Delete(which) => self.unlink(name(which)),
            Op::Create(which) => self.create(name(which)),
            _ => {}
        }
    }

    fn stat(&self, file: &Inode) -> Stat {
        Stat {
            key: Key {
                device: self.device,
                inode: file.number,
            },
            size: file.content.len() as u64,
            modified_us: file.modified_us,
            linked: file.links > 0,
            birth_us: self.births.then_some(file.birth_us),
        }
    }
}

#[derive(Clone)]
struct Model(Rc<RefCell<World>>);

impl Model {
    /// A question of the reader: something may happen before its answer.
    fn asked(&self) {
        let mut world = self.0.borrow_mut();
        world.questions += 1;
        while world
            .between
            .front()
            .is_some_and(|(at, _)| *at <= world.questions)
        {
            let (_, op) = world.between.pop_front().unwrap();
            world.apply(&op);
        }
    }
}

impl Disk for Model {
    type Handle = File;

    fn scan(&mut self, _: &[(&str, &str, FileKind)]) -> Scan {
        self.asked();
        let world = self.0.borrow();
        let found = world.names.iter().map(|(name, file)| {
            let base = NAMES.iter().find(|base| name.starts_with(**base)).unwrap();
            Found {
                path: (*base).to_owned(),
                target: None,
                at: name.clone(),
                kind: FileKind::File,
                rotated: name != base,
                stat: world.stat(&file.borrow()),
            }
        });
        Scan {
            found: found.collect(),
            incomplete: false,
            unsettled: false,
        }
    }

    fn open(&mut self, path: &str) -> io::Result<File> {
        self.asked();
        let file = self.0.borrow().names.get(path).cloned();
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn stat(&mut self, handle: &File) -> io::Result<Stat> {
        self.asked();
        Ok(self.0.borrow().stat(&handle.borrow()))
    }

    fn read(&mut self, handle: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.asked();
        let file = handle.borrow();
        let from = file.content.len().min(usize::try_from(offset).unwrap());
        let read = (file.content.len() - from).min(buffer.len());
        buffer[..read].copy_from_slice(&file.content[from..from + read]);
        Ok(read)
    }
}

struct Node1;

impl Heads for Node1 {
    fn head<'h>(&'h self, read_us: i64, file: chunk::File<'h>) -> Head<'h> {
        Head {
            host: "node1".into(),
            zone: None,
            cluster: None,
            labels: Default::default(),
            read_us,
            pods: BTreeMap::new(),
            file: Some(file),
        }
    }
}

const QUIET_US: i64 = 5_000_000;

fn agent(model: &Model, positions: &Positions) -> Reader<Model> {
    let reading = Reading {
        joining: Joining {
            container: false,
            start: None,
            max_bytes: 1 << 20,
        },
        encoding: encoding_rs::UTF_8,
        time: None,
    };
    let limits = Limits {
        open: 2,
        files: 100,
        quiet_us: QUIET_US,
    };
    let scanned_us = positions.scanned_us;
    let positions = positions.files.values().cloned().collect();
    Reader::new(
        model.clone(),
        (reading.clone(), reading),
        limits,
        Box::new(Node1),
        positions,
        scanned_us,
    )
}

/// The agent, what it handed over, and what is durable of it.
struct Run {
    world: Rc<RefCell<World>>,
    reader: Option<Reader<Model>>,
    handed: VecDeque<Vec<Item>>,
    /// As far as it was kept.
    positions: Positions,
    /// The same, as it would be found after a crash.
    durable: Positions,
    /// By identity: the line.
    records: HashMap<((u64, u64), u64, u64), u64>,
    order: Vec<u64>,
}

impl Run {
    fn new(births: bool, between: VecDeque<(usize, Op)>) -> Self {
        let mut world = World {
            births,
            device: 1,
            now_us: 1_000_000_000,
            used: 1,
            ..World::default()
        };
        NAMES.iter().for_each(|name| world.create(name));
        let world = Rc::new(RefCell::new(world));
        let mut run = Self {
            reader: None,
            world,
            handed: VecDeque::new(),
            positions: Positions::default(),
            durable: Positions::default(),
            records: HashMap::new(),
            order: Vec::new(),
        };
        run.switch_on();
        run.step(&Op::Scan);
        run.step(&Op::Keep(100));
        run.step(&Op::Save);
        // What was rotated before the first scan is not promised.
        run.world.borrow_mut().between = between;
        run.world.borrow_mut().questions = 0;
        run
    }

    fn switch_on(&mut self) {
        let model = Model(Rc::clone(&self.world));
        self.reader = Some(agent(&model, &self.positions));
    }

    /// Nothing is open any more: what has no name is gone.
    fn end_reader(&mut self) {
        self.reader = None;
        let gone: Vec<File> = {
            let world = self.world.borrow();
            let files = world.files.iter().chain(&world.gone);
            let gone = files.filter(|file| file.borrow().links == 0);
            gone.cloned().collect()
        };
        gone.iter()
            .for_each(|file| self.world.borrow_mut().excuse(file));
    }

    fn now(&self) -> i64 {
        self.world.borrow_mut().tick()
    }

    fn step(&mut self, op: &Op) {
        let now_us = self.now();
        self.world.borrow_mut().look_who_is_open();
        let mut out = Vec::new();
        match (op, &mut self.reader) {
            (Op::Scan, Some(reader)) => {
                // Scans are further apart than the ticks of that clock.
                let now_us = coarse(now_us + TICK_US);
                self.world.borrow_mut().now_us = now_us;
                reader.scan(now_us, false, &mut out);
            }
            (Op::Hear, Some(reader)) => {
                let written = std::mem::take(&mut self.world.borrow_mut().written);
                written
                    .iter()
                    .for_each(|path| reader.mark_path(path, now_us));
            }
            (Op::Turns(turns), Some(reader)) => {
                for _ in 0..*turns {
                    reader.turn(now_us, &mut out);
                }
            }
            (op, _) => self.step_without(op),
        }
        self.handed.push_back(out);
    }

    /// What needs no reader.
    fn step_without(&mut self, op: &Op) {
        match op {
            Op::Scan | Op::Hear | Op::Turns(_) => {}
            Op::Keep(items) => {
                for _ in 0..*items {
                    self.keep();
                }
            }
            Op::Save => self.durable = self.positions.clone(),
            Op::Wait => {
                self.world.borrow_mut().now_us += QUIET_US;
                let now_us = self.now();
                if let Some(reader) = &mut self.reader {
                    reader.flush(now_us);
                }
            }
            Op::Crash => {
                let on = self.reader.is_some();
                self.handed.clear();
                self.end_reader();
                self.positions = self.durable.clone();
                if on {
                    self.switch_on();
                }
            }
            Op::Switch if self.reader.is_some() => {
                self.end_reader();
                // What it handed over is kept.
                while !self.handed.is_empty() {
                    self.keep();
                }
            }
            Op::Switch => self.switch_on(),
            other => self.world.borrow_mut().apply(other),
        }
    }

    /// Append what was handed over together.
    fn keep(&mut self) {
        for item in self.handed.pop_front().unwrap_or_default() {
            if let Some(chunk) = item.chunk() {
                // Its place is in the same append.
                self.durable.apply(&item);
                if !is_place(chunk) {
                    self.keep_records(chunk);
                }
            }
            self.positions.apply(&item);
        }
    }

    fn keep_records(&mut self, chunk: &[u8]) {
        for raw in Chunk::parse(chunk).unwrap().raws() {
            let Raw::File {
                message, position, ..
            } = raw
            else {
                panic!("a line of a file");
            };
            let line: u64 = message.split(' ').next().unwrap().parse().unwrap();
            let key = (position.device, position.inode);
            let id = (key, position.generation, position.offset);
            match self.records.insert(id, line) {
                None => self.order.push(line),
                Some(before) => assert_eq!(before, line, "one identity, two lines: {id:?}"),
            }
            self.world.borrow_mut().kept.insert(line);
        }
    }

    fn end(&mut self) {
        self.world.borrow_mut().between.clear();
        let names: Vec<String> = self.world.borrow().names.keys().cloned().collect();
        names
            .iter()
            .for_each(|name| self.world.borrow_mut().end_line(name));
        if self.reader.is_none() {
            self.step(&Op::Switch);
        }
        for _ in 0..6 {
            self.step(&Op::Scan);
            self.step(&Op::Hear);
            self.step(&Op::Turns(100));
            self.step(&Op::Wait);
            self.step(&Op::Turns(100));
            self.step(&Op::Keep(1_000));
        }
    }

    fn check(&self) {
        let world = self.world.borrow();
        let mut times: HashMap<u64, usize> = HashMap::new();
        for line in self.records.values() {
            *times.entry(*line).or_default() += 1;
        }
        for line in 0..world.next_line {
            match times.get(&line) {
                Some(1) => {}
                None => assert!(world.excused.contains(&line), "line {line} was lost"),
                Some(times) => panic!("line {line} was kept {times} times"),
            }
        }
        // Lines are numbered as they are written: what one file got in one
        // life of it is kept with rising numbers.
        let place: HashMap<u64, usize> = self.order.iter().copied().zip(0..).collect();
        for file in world.files.iter().chain(&world.gone) {
            let file = file.borrow();
            let kept = file
                .lines
                .iter()
                .filter_map(|(line, life)| Some((life, place.get(line)?)));
            let kept: Vec<_> = kept.collect();
            assert!(
                kept.is_sorted(),
                "the order of a file's lines: {:?}",
                file.lines
            );
        }
    }
}

#[test]
fn a_machine_that_counts_its_devices_anew_reads_no_line_again() {
    let mut run = Run::new(true, VecDeque::new());
    let write = Op::Write(0, vec![5, 5]);
    for op in [&write, &Op::Turns(9), &Op::Keep(9), &Op::Save] {
        run.step(op);
    }
    run.world.borrow_mut().device = 2;
    for op in [&Op::Crash, &write] {
        run.step(op);
    }
    run.end();
    run.check();
    assert_eq!(run.records.len(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_096, ..ProptestConfig::default() })]
    #[test]
    fn every_line_is_kept_exactly_once_whatever_happens_to_the_files_and_to_the_agent(
        births: bool,
        ops in prop::collection::vec(op(), 1..60),
        between in prop::collection::vec((0usize..80, op()), 0..20),
    ) {
        // Where births are not told, a deleted file whose number is used again
        // is known by content only, which is not always enough.
        let told = |op: &Op| births || !matches!(op, Op::Delete(_));
        let ops: Vec<Op> = ops.into_iter().filter(told).collect();
        let mut between: Vec<_> = between.into_iter().filter(|(_, op)| told(op)).collect();
        between.sort_by_key(|(at, _)| *at);
        let mut run = Run::new(births, between.into());
        ops.iter().for_each(|op| run.step(op));
        run.end();
        run.check();
    }
}
