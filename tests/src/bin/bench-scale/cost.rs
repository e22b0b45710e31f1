//! What processes cost between two moments, and what the limit was.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use mscp_log_tests::process::cost_of;

/// A thread that runs for so much of the time is the limit.
const WHOLE_THREAD: f64 = 0.85;
/// Cores that are idle for no more than this share of the time are the limit.
const HARDLY_IDLE: f64 = 0.15;

/// Processes that are watched, from [`Watch::begin`] on.
pub(crate) struct Watch {
    begun: Instant,
    machine: Machine,
    processes: Vec<Process>,
}

struct Process {
    role: &'static str,
    id: u32,
    cpu: f64,
    threads: BTreeMap<u32, (String, f64)>,
}

/// CPU seconds of the whole machine since its start.
#[derive(Clone, Copy)]
struct Machine {
    all: f64,
    idle: f64,
}

/// What all processes of a role cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    /// CPU seconds, together.
    pub(crate) cpu: f64,
    /// The most bytes resident that one of them had since it was started.
    pub(crate) peak: u64,
}

/// What became of the time between two moments.
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    of: BTreeMap<&'static str, Spent>,
    /// The share of all cores' time that was idle, or waited for a disk.
    idle: f64,
    /// The share that went to processes which were not watched.
    others: f64,
    /// The thread that ran most: of which role, its name, its share of a core.
    thread: (&'static str, String, f64),
}

impl Watch {
    /// Begin, with roles and ids of processes.
    pub(crate) fn begin(processes: &[(&'static str, u32)]) -> Self {
        let processes = processes.iter().map(|&(role, id)| Process {
            role,
            id,
            cpu: cost_of(id).0,
            threads: threads_of(id),
        });
        Self {
            processes: processes.collect(),
            machine: Machine::now(),
            begun: Instant::now(),
        }
    }

    /// What it cost from then until now.
    pub(crate) fn end(&self) -> Cost {
        let wall = self.begun.elapsed();
        let machine = Machine::now();
        let mut of: BTreeMap<&'static str, Spent> = BTreeMap::new();
        let mut thread = ("", String::new(), 0.0);
        for process in &self.processes {
            let (cpu, peak) = cost_of(process.id);
            let spent = of.entry(process.role).or_default();
            spent.cpu += cpu - process.cpu;
            spent.peak = spent.peak.max(peak);
            for (id, (name, cpu)) in threads_of(process.id) {
                let before = process.threads.get(&id).map_or(0.0, |(_, cpu)| *cpu);
                let share = (cpu - before) / wall.as_secs_f64();
                if share > thread.2 {
                    thread = (process.role, name, share);
                }
            }
        }
        let all = machine.all - self.machine.all;
        let idle = (machine.idle - self.machine.idle) / all;
        let watched: f64 = of.values().map(|spent| spent.cpu).sum();
        Cost {
            wall,
            of,
            idle,
            others: (1.0 - idle - watched / all).max(0.0),
            thread,
        }
    }
}

impl Cost {
    /// What the processes of `role` cost.
    pub(crate) fn of(&self, role: &str) -> Spent {
        self.of.get(role).copied().unwrap_or_default()
    }

    /// What kept it from being quicker, as far as CPU times say.
    pub(crate) fn limit(&self) -> String {
        let busy: f64 = self.of.values().map(|spent| spent.cpu).sum();
        let mut shares: Vec<_> = self.of.iter().collect();
        shares.sort_by(|(_, one), (_, other)| other.cpu.total_cmp(&one.cpu));
        let shares: Vec<String> = shares
            .into_iter()
            .map(|(role, spent)| format!("{role} {:.0} %", spent.cpu / busy * 100.0))
            .collect();
        let shares = shares.join(", ");
        let (role, name, share) = &self.thread;
        let mut limit = if self.idle < HARDLY_IDLE {
            format!("all cores: {shares}")
        } else if *share >= WHOLE_THREAD {
            format!("one thread of {role} ({name}); {shares}")
        } else {
            format!("waiting, {:.0} % idle: {shares}", self.idle * 100.0)
        };
        if self.others >= 0.1 {
            limit += &format!("; {:.0} % went to others", self.others * 100.0);
        }
        limit
    }
}

impl Machine {
    /// man 5 proc, `/proc/stat`: ticks of 1/100 s in user, nice, system, idle,
    /// iowait, irq, softirq, steal.
    fn now() -> Self {
        let text = fs::read_to_string("/proc/stat").expect("/proc is Linux's");
        let line = text.lines().next().expect("the first line is of all cores");
        let ticks: Vec<f64> = line
            .split_whitespace()
            .skip(1)
            .take(8)
            .map(|field| field.parse().expect("a number of ticks"))
            .collect();
        Self {
            all: ticks.iter().sum::<f64>() / 100.0,
            idle: (ticks[3] + ticks[4]) / 100.0,
        }
    }
}

/// Names and CPU seconds of the threads that a process has now.
fn threads_of(id: u32) -> BTreeMap<u32, (String, f64)> {
    let tasks = fs::read_dir(format!("/proc/{id}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    let threads = tasks.filter_map(|task| {
        let thread = task.file_name().to_str()?.parse().ok()?;
        // It may have ended meanwhile.
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        let (name, behind) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let fields = behind.split(' ').skip(11).take(2);
        let ticks: f64 = fields.filter_map(|field| field.parse::<f64>().ok()).sum();
        Some((thread, (name.to_owned(), ticks / 100.0)))
    });
    threads.collect()
}
