//! The buffers, each behind "append, durable when it returns" and "what is there".
//!
//! Every append is one value, as few as possible for those that are made for
//! small ones. Those without a group commit of their own get one.

use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};

use bytes::Bytes;
use clap::ValueEnum;
use mscp_log_server::buffer::disk::{DiskBuffer, DiskSettings};
use mscp_log_server::buffer::{Buffer as _, ConsumeError};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Ours,
    Fjall,
    WalDb,
    OpenWal,
    Okaywal,
}

pub(crate) type Append = Box<dyn Fn(Vec<Bytes>) + Send + Sync>;

impl Kind {
    pub(crate) const ALL: &[Self] = &[
        Self::Ours,
        Self::Fjall,
        Self::WalDb,
        Self::OpenWal,
        Self::Okaywal,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Fjall => "fjall",
            Self::WalDb => "wal-db",
            Self::OpenWal => "open-wal",
            Self::Okaywal => "okaywal",
        }
    }
}

pub(crate) fn open(kind: Kind, dir: &Path) -> Append {
    match kind {
        Kind::Ours => ours(dir),
        Kind::Fjall => {
            let (database, log) = fjall_at(dir);
            let mut next = 0_u64;
            grouped(move |group| {
                let mut batch = database.batch();
                for value in group {
                    batch.insert(&log, next.to_be_bytes(), value.as_slice());
                    next += 1;
                }
                batch.commit().unwrap();
                database.persist(fjall::PersistMode::SyncData).unwrap();
            })
        }
        Kind::WalDb => {
            let wal = wal_db_at(dir);
            Box::new(move |records| {
                let _at = wal.append_and_sync(&one(&records)).unwrap();
            })
        }
        Kind::OpenWal => {
            let mut wal = open_wal_at(dir);
            grouped(move |group| {
                for value in group {
                    wal.append(value).unwrap();
                }
                wal.commit().unwrap();
            })
        }
        Kind::Okaywal => {
            let wal = okaywal_at(dir, Keep);
            Box::new(move |records| {
                let mut entry = wal.begin_entry().unwrap();
                entry.write_chunk(&one(&records)).unwrap();
                entry.commit().unwrap();
            })
        }
    }
}

/// The numbers of the appends that are in `dir`.
pub(crate) fn read(kind: Kind, dir: &Path) -> Vec<u32> {
    let mut found = Vec::new();
    match kind {
        Kind::Ours => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            let buffer = DiskBuffer::open(dir, DiskSettings::default()).unwrap();
            runtime.block_on(async {
                let mut consumer = buffer.consumer().await.unwrap();
                buffer.close();
                loop {
                    match consumer.read(1 << 20).await {
                        Ok(batch) => found.extend(batch.records.iter().filter_map(|r| number(r))),
                        Err(ConsumeError::Closed) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        Kind::Fjall => {
            let (_database, log) = fjall_at(dir);
            found.extend(
                log.iter()
                    .map(|item| number(&item.value().unwrap()).unwrap()),
            );
        }
        Kind::WalDb => {
            let wal = wal_db_at(dir);
            found.extend(
                wal.iter()
                    .unwrap()
                    .map(|entry| number(entry.unwrap().data()).unwrap()),
            );
        }
        Kind::OpenWal => {
            let wal = open_wal_at(dir);
            let mut reader = wal.reader_from(open_wal::Lsn(1)).unwrap();
            while let Some(record) = reader.next() {
                found.extend(number(record.unwrap().1));
            }
        }
        Kind::Okaywal => {
            let (sender, receiver) = std::sync::mpsc::channel();
            let wal = okaywal_at(dir, Collect(sender));
            found.extend(receiver.try_iter());
            drop(wal);
        }
    }
    found
}

fn ours(dir: &Path) -> Append {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let handle = runtime.handle().clone();
    std::mem::forget(runtime);
    let settings = DiskSettings {
        max_disk_percent: 100,
        ..DiskSettings::default()
    };
    let buffer = DiskBuffer::open(dir, settings).unwrap();
    Box::new(move |records| handle.block_on(buffer.append("host", records)).unwrap())
}

fn fjall_at(dir: &Path) -> (fjall::Database, fjall::Keyspace) {
    let database = fjall::Database::builder(dir)
        .manual_journal_persist(true)
        .open()
        .unwrap();
    let log = database
        .keyspace("log", fjall::KeyspaceCreateOptions::default)
        .unwrap();
    (database, log)
}

fn wal_db_at(dir: &Path) -> wal_db::Wal<wal_db::SegmentedStore> {
    wal_db::Wal::open_segmented(dir, 64 << 20).unwrap()
}

fn open_wal_at(dir: &Path) -> open_wal::Wal<open_wal::NullObserver> {
    let (wal, _report) = open_wal::Wal::open(dir, open_wal::WalConfig::default()).unwrap();
    wal
}

/// It hands files over and uses them again as they fill; here it shall keep all.
fn okaywal_at(dir: &Path, manager: impl okaywal::LogManager) -> okaywal::WriteAheadLog {
    okaywal::Configuration::default_for(dir)
        .checkpoint_after_bytes(u64::MAX)
        .open(manager)
        .unwrap()
}

/// One value of an append.
fn one(records: &[Bytes]) -> Vec<u8> {
    records.concat()
}

/// The number in the first record of an append.
fn number(value: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(value)
        .ok()?
        .strip_prefix("{\"append\":")?;
    let (append, rest) = text.split_once(',')?;
    rest.starts_with("\"record\":0,")
        .then(|| append.parse().ok())?
}

/// A writer that takes all that waits, as ours does.
fn grouped(mut write: impl FnMut(&[Vec<u8>]) + Send + 'static) -> Append {
    let (sender, receiver) = sync_channel::<(Vec<u8>, SyncSender<()>)>(1_024);
    std::thread::spawn(move || {
        while let Ok(first) = receiver.recv() {
            let (values, replies): (Vec<_>, Vec<_>) =
                std::iter::once(first).chain(receiver.try_iter()).unzip();
            write(&values);
            for reply in replies {
                reply.send(()).unwrap();
            }
        }
    });
    Box::new(move |records| {
        let (reply, answer) = sync_channel(1);
        sender.send((one(&records), reply)).unwrap();
        answer.recv().unwrap();
    })
}

/// Never says that an entry is elsewhere.
#[derive(Debug)]
struct Keep;

impl okaywal::LogManager for Keep {
    fn recover(&mut self, _entry: &mut okaywal::Entry<'_>) -> std::io::Result<()> {
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _last: okaywal::EntryId,
        _entries: &mut okaywal::SegmentReader,
        _wal: &okaywal::WriteAheadLog,
    ) -> std::io::Result<()> {
        Ok(())
    }
}

/// Tells what it is shown.
#[derive(Debug)]
struct Collect(std::sync::mpsc::Sender<u32>);

impl okaywal::LogManager for Collect {
    fn recover(&mut self, entry: &mut okaywal::Entry<'_>) -> std::io::Result<()> {
        // An entry that is torn is an error here, and must not be one of `open`.
        if let Ok(Some(chunks)) = entry.read_all_chunks() {
            for chunk in chunks {
                if let Some(number) = number(&chunk) {
                    let _ = self.0.send(number);
                }
            }
        }
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        last: okaywal::EntryId,
        entries: &mut okaywal::SegmentReader,
        wal: &okaywal::WriteAheadLog,
    ) -> std::io::Result<()> {
        Keep.checkpoint_to(last, entries, wal)
    }
}
