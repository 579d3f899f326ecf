//! What `/proc` tells of a process while it lives.

use std::fs;

/// Path of a process's executable, as its own mount namespace names it. `None` where the process has gone, or
/// its id is in use by another command by now.
pub fn find_exe(pid: u32, comm: &str) -> Option<String> {
    let now = fs::read(format!("/proc/{pid}/comm")).ok()?;
    if String::from_utf8_lossy(&now).trim_end_matches('\n') != comm {
        return None;
    }
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(exe.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::find_exe;

    #[test]
    fn the_executable_of_a_living_process_is_found_and_only_under_its_own_name() {
        let pid = std::process::id();
        let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
        let own = std::env::current_exe().unwrap();
        assert_eq!(find_exe(pid, comm.trim_end()).unwrap(), own.to_string_lossy());
        assert_eq!(find_exe(pid, "another"), None);
        assert_eq!(find_exe(u32::MAX, "gone"), None);
    }
}
