//! The threads of a pusher. One keeps the time: it makes batches when they are
//! due, and tells callers that it is late. Those that send are started when
//! there is a batch and no idle one, and end when nothing comes for a while.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::queue::{Job, Over, Shared, SpillOver};
use super::spool::Spool;
use super::{deliver, inside};
use crate::connection::Connection;
use crate::connection::ureq::Ureq;

/// How long a thread that sends waits for another batch.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts the thread that keeps the time, and the one that spills where there
/// is a spool.
pub(super) fn start(
    shared: &Arc<Shared>,
    connection: &Arc<Connection<Ureq>>,
    spool: Option<Spool>,
) -> io::Result<()> {
    if let Some(spool) = spool {
        let shared = Arc::clone(shared);
        spawn(move || {
            let _over = SpillOver(Arc::clone(&shared));
            // Gone, with its locks, when the other says that all is over.
            let mut spool = spool;
            spill(&shared, &mut spool);
        })?;
    }
    let connection = Arc::clone(connection);
    // However it ends, or does not begin, nobody must wait for it for ever.
    let over = Over(Arc::clone(shared));
    spawn(move || {
        let shared = Arc::clone(&over.0);
        while let Some(batch) = shared.next_batch() {
            let sender = Sender {
                shared: Arc::clone(&shared),
                connection: Arc::clone(&connection),
            };
            if spawn(move || sender.run(batch)).is_err() {
                // The system has no thread to give. Callers may be told late,
                // but the batch gets on its way; the sender's drop has
                // counted it out already.
                deliver::deliver(&connection, &shared, batch);
            }
        }
    })
}

/// Writes and reads the files, until all is over.
fn spill(shared: &Shared, spool: &mut Spool) {
    loop {
        match shared.next_job() {
            Job::Write(parts, why) => {
                let (mut written, mut failed) = (Vec::new(), None);
                let mut parts = parts.into_iter();
                for part in parts.by_ref() {
                    match spool.append(&part) {
                        Ok(()) => written.push(part),
                        Err(error) => {
                            failed = Some((part, error));
                            break;
                        }
                    }
                }
                if let Err(error) = spool.sync() {
                    // It is in the file all the same, and may be sent from it.
                    log::warn!("the spill could not be synchronised: {error}");
                }
                shared.written(&written);
                if let Some((part, error)) = failed {
                    let rest: Vec<_> = std::iter::once(part).chain(parts).collect();
                    shared.not_written(rest, why, &error.to_string());
                }
            }
            Job::Read => match spool.front() {
                Ok(part) => shared.read(part),
                Err(error) => shared.unreadable(spool.give_up(), &error.to_string()),
            },
            Job::Settle(records) => {
                if let Err(error) = spool.settle(records) {
                    shared.unreadable(spool.give_up(), &error.to_string());
                }
            }
            Job::End => return,
        }
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name("mscp-log-push".to_owned());
    thread.spawn(|| {
        inside::mark();
        work();
    })?;
    Ok(())
}

/// A thread that sends.
struct Sender {
    shared: Arc<Shared>,
    connection: Arc<Connection<Ureq>>,
}

impl Sender {
    fn run(self, first: u64) {
        let mut next = Some(first);
        while let Some(batch) = next {
            deliver::deliver(&self.connection, &self.shared, batch);
            next = self.shared.next_handed(PATIENCE);
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.thread_ended();
    }
}
