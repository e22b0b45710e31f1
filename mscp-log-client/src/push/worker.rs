//! The threads of a pusher. One keeps the time: it makes batches when they are
//! due, and tells callers that it is late. Those that send are started when
//! there is a batch and no idle one, and end when nothing comes for a while.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::queue::{Over, Shared};
use super::{deliver, inside};
use crate::connection::Connection;
use crate::connection::ureq::Ureq;

/// How long a thread that sends waits for another batch.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts the thread that keeps the time.
pub(super) fn start(shared: &Arc<Shared>, connection: &Arc<Connection<Ureq>>) -> io::Result<()> {
    let (shared, connection) = (Arc::clone(shared), Arc::clone(connection));
    spawn(move || {
        // However it ends, nobody must wait for it for ever.
        let _over = Over(Arc::clone(&shared));
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
