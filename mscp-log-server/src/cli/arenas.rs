//! How the C library shares memory out among threads, which it settles before
//! a program begins.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Where glibc reads it.
const VARIABLE: &str = "MALLOC_ARENA_MAX";

/// The store's threads come and go, and what one allocates another frees: with
/// glibc's default of eight arenas a core, a node that writes many days keeps
/// three times the memory that it uses.
const ARENAS: &str = "2";

/// Begin this process again, with the same number, arguments and environment
/// but for that, unless somebody has chosen a number of arenas already.
pub(super) fn few() {
    let tunables = std::env::var("GLIBC_TUNABLES").unwrap_or_default();
    let chosen = std::env::var_os(VARIABLE).is_some() || tunables.contains("arena_max");
    if chosen || !cfg!(all(target_os = "linux", target_env = "gnu")) {
        return;
    }
    let mut arguments = std::env::args_os();
    let (Ok(program), Some(name)) = (std::env::current_exe(), arguments.next()) else {
        return;
    };
    // It comes back only where that failed: then it goes on with more memory.
    let _error = Command::new(program)
        .arg0(name)
        .args(arguments)
        .env(VARIABLE, ARENAS)
        .exec();
}
