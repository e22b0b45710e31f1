//! Any sequence of appends, faults, reads, commits, kills and power cuts, held
//! against what a buffer promises.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// Appends that wait at the same time, each of so many records.
    Append(Vec<u8>),
    /// The disk is full after so many bytes, for one round of appends.
    NoSpace(u8, Vec<u8>),
    SyncFails(Vec<u8>),
    Read(u16),
    /// Commit so much (of 255) of what was read.
    Commit(u8),
    /// The process dies and starts again; the kernel keeps what was written.
    Kill,
    PowerCut(u8, Option<u8>),
    TakeOver,
}

fn step() -> impl Strategy<Value = Step> {
    let appends = || prop::collection::vec(1..6_u8, 1..6);
    prop_oneof![
        6 => appends().prop_map(Step::Append),
        1 => (any::<u8>(), appends()).prop_map(|(room, appends)| Step::NoSpace(room, appends)),
        1 => appends().prop_map(Step::SyncFails),
        4 => (1..200_u16).prop_map(Step::Read),
        3 => any::<u8>().prop_map(Step::Commit),
        1 => Just(Step::Kill),
        2 => (any::<u8>(), any::<Option<u8>>()).prop_map(|(keep, wrong)| Step::PowerCut(keep, wrong)),
        1 => Just(Step::TakeOver),
    ]
}

/// One record: which append, which record of how many.
type Name = (u32, u8, u8);

fn text((append, record, of): Name) -> Bytes {
    let padding = ".".repeat(usize::try_from(append % 40).unwrap());
    Bytes::from(format!("{append} {record} {of} {padding}"))
}

fn name(record: &Bytes) -> Name {
    let text = std::str::from_utf8(record).unwrap();
    let mut words = text.split(' ');
    let mut word = || words.next().unwrap();
    (
        word().parse().unwrap(),
        word().parse().unwrap(),
        word().parse().unwrap(),
    )
}

struct Model {
    dir: tempfile::TempDir,
    disk: Faulty,
    buffer: Option<DiskBuffer>,
    consumer: Option<DiskConsumer>,
    appends: u32,
    acknowledged: BTreeSet<Name>,
    /// Attempted and not acknowledged: may be there, whole.
    possible: BTreeSet<Name>,
    /// Every record ever read, with its number.
    numbers: BTreeMap<u64, Name>,
    /// Read by this consumer, behind the last commit, in order.
    read: Vec<(u64, Name, Position)>,
    committed: BTreeSet<Name>,
    /// The highest number committed.
    floor: Option<u64>,
}

impl Model {
    async fn new() -> Self {
        let mut model = Self {
            dir: tempfile::tempdir().unwrap(),
            disk: Faulty::default(),
            buffer: None,
            consumer: None,
            appends: 0,
            acknowledged: BTreeSet::new(),
            possible: BTreeSet::new(),
            numbers: BTreeMap::new(),
            read: Vec::new(),
            committed: BTreeSet::new(),
            floor: None,
        };
        model.open().await;
        model
    }

    async fn open(&mut self) {
        let settings = DiskSettings {
            segment_bytes: 300,
            ..DiskSettings::default()
        };
        // As far as a clock would have gone.
        let floor = u64::from(self.appends) * 1_000;
        let disk = Box::new(self.disk.clone());
        let buffer = DiskBuffer::open_on(disk, self.dir.path(), settings, floor).unwrap();
        self.buffer = Some(buffer);
        self.take_over().await;
    }

    fn buffer(&self) -> &DiskBuffer {
        self.buffer.as_ref().unwrap()
    }

    async fn take_over(&mut self) {
        self.consumer = Some(self.buffer().join().await.unwrap());
        self.read.clear();
    }

    async fn append(&mut self, counts: Vec<u8>) {
        let appends: Vec<Vec<Name>> = counts
            .into_iter()
            .map(|of| {
                self.appends += 1;
                (0..of).map(|record| (self.appends, record, of)).collect()
            })
            .collect();
        let buffer = self.buffer.as_ref().unwrap();
        let answers = futures::future::join_all(appends.iter().map(|names| {
            let records = names.iter().copied().map(text).collect();
            buffer.append("host", records)
        }))
        .await;
        for (names, answer) in appends.into_iter().zip(answers) {
            match answer {
                Ok(()) => self.acknowledged.extend(names),
                Err(_) => self.possible.extend(names),
            }
        }
    }

    /// Read once, if there is anything.
    async fn read(&mut self, max_bytes: usize) -> bool {
        let consumer = self.consumer.as_mut().unwrap();
        let Some(batch) = consumer.try_read(max_bytes).await.unwrap() else {
            return false;
        };
        for (number, record) in (batch.first..).zip(&batch.records) {
            let name = name(record);
            assert!(
                self.floor.is_none_or(|floor| number > floor),
                "a committed number came again"
            );
            assert!(
                !self.committed.contains(&name),
                "{name:?} was committed and came again"
            );
            assert!(
                self.acknowledged.contains(&name) || self.possible.contains(&name),
                "{name:?} was never appended"
            );
            assert_eq!(
                *self.numbers.entry(number).or_insert(name),
                name,
                "{number} was given twice"
            );
            if let Some((last, before, _)) = self.read.last() {
                assert!(number > *last);
                assert!(*before != name);
            }
            let position = Position {
                next: number + 1,
                ..batch.position
            };
            self.read.push((number, name, position));
        }
        true
    }

    async fn commit(&mut self, part: u8) {
        let count = self.read.len() * usize::from(part) / 255;
        let Some((number, _, position)) = count.checked_sub(1).map(|last| self.read[last]) else {
            return;
        };
        self.consumer
            .as_mut()
            .unwrap()
            .commit(position)
            .await
            .unwrap();
        self.floor = Some(number);
        self.committed
            .extend(self.read.drain(..count).map(|(_, name, _)| name));
    }

    async fn restart(&mut self, power_cut: Option<(u8, Option<u8>)>) {
        // A dead process finishes nothing.
        self.disk.set(|faults| faults.off = true);
        self.consumer = None;
        self.buffer = None;
        self.disk.set(|faults| faults.off = false);
        if let Some((keep, garble)) = power_cut {
            self.disk.power_cut(keep, garble);
        }
        self.open().await;
    }

    /// Everything acknowledged and not committed is there, once, and every
    /// append is whole.
    async fn check(&mut self) {
        self.restart(None).await;
        while self.read(ALL).await {}
        let there: Vec<Name> = self.read.iter().map(|(_, name, _)| *name).collect();
        let set: BTreeSet<Name> = there.iter().copied().collect();
        assert_eq!(set.len(), there.len(), "a record is there twice");
        for name in self.acknowledged.difference(&self.committed) {
            assert!(set.contains(name), "{name:?} was acknowledged and is lost");
        }
        for (append, _, of) in &there {
            for record in 0..*of {
                let name = (*append, record, *of);
                assert!(
                    set.contains(&name) || self.committed.contains(&name),
                    "half an append"
                );
            }
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Append(counts) => self.append(counts).await,
            Step::NoSpace(room, counts) => {
                self.disk.set(|faults| faults.room = Some(u64::from(room)));
                self.append(counts).await;
                self.disk.set(|faults| faults.room = None);
            }
            Step::SyncFails(counts) => {
                self.disk.set(|faults| faults.sync_fails = true);
                self.append(counts).await;
                self.disk.set(|faults| faults.sync_fails = false);
            }
            Step::Read(max_bytes) => {
                self.read(usize::from(max_bytes)).await;
            }
            Step::Commit(part) => self.commit(part).await,
            Step::Kill => self.restart(None).await,
            Step::PowerCut(keep, garble) => self.restart(Some((keep, garble))).await,
            Step::TakeOver => self.take_over().await,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_acknowledged_record_is_lost_or_doubled_and_no_append_is_halved(
        steps in prop::collection::vec(step(), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut model = Model::new().await;
            for step in steps {
                model.take(step).await;
            }
            model.check().await;
        });
    }
}

/// The disk takes back what the kernel said it had, twice: a reader finds
/// nothing where the numbers say there was something, and neither waits for it
/// nor stumbles over it.
#[tokio::test]
async fn what_the_disk_takes_back_is_not_waited_for() {
    let mut model = Model::new().await;
    for step in [
        Step::Append(vec![1]),
        Step::SyncFails(vec![2]),
        Step::Kill,
        Step::SyncFails(vec![3]),
        Step::PowerCut(200, None),
        Step::Read(100),
        Step::Commit(255),
        Step::Read(100),
        Step::Append(vec![1]),
        Step::Read(100),
    ] {
        model.take(step).await;
    }
    model.check().await;
}
