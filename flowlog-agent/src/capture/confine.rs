//! What the agent gives up once the kernel half is attached: capabilities, files, system calls.
//!
//! From there on it drains rings and writes lines. Whoever takes it over then gets no more than that: it can
//! load no program, start no process, open no connection (but to the API server's port, where that is watched), and
//! reach no file but its own. The kernel takes none
//! of this back, and threads that start later inherit it.

use super::host::Kernel;
use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    ABI, Access, AccessFs, AccessNet, NetPort, PathFdError, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use nix::fcntl::AtFlags;
use nix::libc;
use nix::unistd::{AccessFlags, faccessat};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What the agent goes on using.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Files and folders that it reads, with all that is below them.
    pub read: Vec<PathBuf>,
    /// Files that it writes, and folders in which it writes, renames and removes files.
    pub write: Vec<PathBuf>,
    /// TCP ports that it connects to; with any, names are looked up, too.
    pub reach: Vec<u16>,
    /// It reads what `/proc` tells of other processes' executables.
    pub executables: bool,
    /// Folders in which it removes a file at the end, and does nothing else.
    pub removes: Vec<PathBuf>,
    /// It answers at sockets that it listens on already.
    pub answers: bool,
    /// It asks connection tracking, which answers those alone that hold CAP_NET_ADMIN at that moment.
    pub conntrack: bool,
}

/// How the agent is confined from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// Capabilities that it still holds, by name.
    pub capabilities: Vec<String>,
    /// No program that it could start would hold more; always with `system_calls`.
    pub no_new_privileges: bool,
    /// System calls other than those it uses are refused.
    pub system_calls: bool,
    /// Files other than its own cannot be reached; else why they can.
    pub files: Result<(), String>,
}

/// Why it cannot be confined.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// Threads that run already would not be.
    #[error("{threads} threads run already, and giving up privileges holds for one")]
    Threads {
        /// How many.
        threads: usize,
    },
    /// What this process holds cannot be read.
    #[error("read what this process holds from {path}: {source}")]
    Read {
        /// The file.
        path: &'static str,
        /// What happened.
        source: io::Error,
    },
    /// Capabilities cannot be given up.
    #[error("give up capabilities: {0}")]
    Capabilities(#[from] CapsError),
    /// Files cannot be confined.
    #[error("confine to its own files (landlock): {0}")]
    Files(#[from] RulesetError),
    /// A folder of its own cannot be opened.
    #[error("confine to its own files (landlock): {0}")]
    File(#[from] PathFdError),
    /// System calls cannot be confined.
    #[error("confine to its own system calls (seccomp): {0}")]
    SystemCalls(#[from] seccompiler::Error),
    /// The filter of system calls cannot be made for this machine.
    #[error("confine to its own system calls (seccomp): {0}")]
    Filter(#[from] BackendError),
}

/// From this kernel on maps are read and written by whoever holds them, with no capability
/// (`bpf: refine kernel.unprivileged_bpf_disabled behaviour`, 6.0).
const MAPS_WITHOUT_CAPABILITY: &str = "6.0";

/// Gives up what is not needed any more. To be called where no thread was started yet.
///
/// # Errors
/// Something could not be given up, but for files, where the kernel has no Landlock (5.13, and it may be
/// switched off).
pub fn confine(uses: &Uses, kernel: &Kernel) -> Result<Confinement, ConfineError> {
    let threads = fs::read_dir("/proc/self/task")
        .map_err(|source| ConfineError::Read { path: "/proc/self/task", source })?
        .count();
    if threads != 1 {
        return Err(ConfineError::Threads { threads });
    }
    let kept = give_up_capabilities(uses, kernel)?;
    let files = confine_files(uses)?;
    confine_system_calls(uses)?;
    let mut capabilities: Vec<String> = kept.iter().map(ToString::to_string).collect();
    capabilities.sort();
    Ok(Confinement { capabilities, no_new_privileges: true, system_calls: true, files })
}

fn give_up_capabilities(uses: &Uses, kernel: &Kernel) -> Result<CapsHashSet, CapsError> {
    let held = caps::read(None, CapSet::Permitted)?;
    let mut kept = CapsHashSet::new();
    if !kernel.is_at_least(MAPS_WITHOUT_CAPABILITY) {
        // CAP_SYS_ADMIN stands for it where it was not given itself.
        let bpf = [Capability::CAP_BPF, Capability::CAP_SYS_ADMIN].into_iter().find(|one| held.contains(one));
        kept.extend(bpf);
    }
    if uses.executables {
        kept.insert(Capability::CAP_SYS_PTRACE);
    }
    if uses.conntrack {
        kept.insert(Capability::CAP_NET_ADMIN);
    }
    kept.retain(|capability| held.contains(capability));
    // Another user's folders are reached by these alone; which of them, the folders tell.
    caps::set(None, CapSet::Effective, &kept)?;
    let folder = |path: &Path, how: AccessFlags| if path.is_dir() { how | AccessFlags::X_OK } else { how };
    let reads = uses.read.iter().all(|path| may(path, folder(path, AccessFlags::R_OK)));
    let writes = uses.write.iter().all(|path| may(path, folder(path, AccessFlags::W_OK)));
    let files = match (reads, writes) {
        (true, true) => None,
        (false, true) => Some(Capability::CAP_DAC_READ_SEARCH),
        (_, false) => Some(Capability::CAP_DAC_OVERRIDE),
    };
    kept.extend(files.filter(|capability| held.contains(capability)));
    // Without CAP_SETPCAP the bounding set stays: no program that could be started makes use of it.
    if held.contains(&Capability::CAP_SETPCAP) {
        caps::set(None, CapSet::Effective, &CapsHashSet::from([Capability::CAP_SETPCAP]))?;
        for capability in caps::read(None, CapSet::Bounding)?.difference(&kept) {
            caps::drop(None, CapSet::Bounding, *capability)?;
        }
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new())?;
    caps::set(None, CapSet::Permitted, &kept)?;
    Ok(kept)
}

/// Whether a path can be used with the effective capabilities of now. One that is not there cannot be told.
fn may(path: &Path, how: AccessFlags) -> bool {
    !matches!(faccessat(nix::fcntl::AT_FDCWD, path, how, AtFlags::AT_EACCESS), Err(nix::Error::EACCES))
}

/// Rights are those of the newest Landlock that this build knows; an older kernel has fewer.
const LANDLOCK: ABI = ABI::V6;

/// The outer error ends the start; the inner one says why this kernel confines no files.
fn confine_files(uses: &Uses) -> Result<Result<(), String>, ConfineError> {
    if uses.executables {
        // Landlock takes what tells of a process's executable for tracing it (`hook_ptrace_access_check`).
        return Ok(Err("executables are looked up, which Landlock would not allow".to_owned()));
    }
    let written =
        AccessFs::from_file(LANDLOCK) | AccessFs::ReadDir | AccessFs::MakeReg | AccessFs::RemoveFile;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .add_rules(path_beneath_rules(&uses.read, AccessFs::ReadFile | AccessFs::ReadDir))?
        .add_rules(path_beneath_rules(OWN, AccessFs::ReadFile | AccessFs::ReadDir))?
        .add_rules(path_beneath_rules(&uses.write, written & !AccessFs::Execute))?
        .add_rules(path_beneath_rules(&uses.removes, AccessFs::RemoveFile))?
        .add_rules(
            uses.reach.iter().map(|port| Ok::<_, RulesetError>(NetPort::new(*port, AccessNet::ConnectTcp))),
        )?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        RulesetStatus::NotEnforced => Err("this kernel has no Landlock, or it is switched off".to_owned()),
    })
}

/// What the agent itself reads beside that: `/proc/self` of its programs and the clock, and how many processors a
/// map of counters has a value for.
const OWN: [&str; 2] = ["/proc", "/sys/devices/system/cpu"];

/// `BPF_MAP_LOOKUP_ELEM` to `BPF_MAP_GET_NEXT_KEY` (include/uapi/linux/bpf.h): all that is asked of maps.
const MAP_COMMANDS: std::ops::RangeInclusive<u64> = 1..=4;

/// What reading files and rings, writing files, waiting, threads and memory take, glibc's own calls included.
/// Not among it, above all: `execve`, `socket` and `connect`, `ptrace`, `mount`, `setns`, `init_module`, `kexec_load`.
const SYSTEM_CALLS: &[libc::c_long] = &[
    // Files that are open.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    // Files by name.
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    libc::SYS_mkdirat,
    libc::SYS_fchmod,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_pipe2,
    // Tokio's pair of sockets, by which signals are told; it is made before.
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    // Time.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    // Threads and signals.
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_prctl,
    // What the process is.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_prlimit64,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];

/// Calls by which something is sent, and the place of their flags: with MSG_FASTOPEN sending is a connect that Landlock
/// does not look at.
const SENDING: [(libc::c_long, u8); 3] =
    [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)];

/// What is asked of descriptors: whether one is a terminal, that it does not block, how much is there to read. Nothing that
/// changes an interface, which is asked for the same way.
/// FIONBIO, FIOCLEX, FIONCLEX, FIONREAD, TCGETS and TIOCGWINSZ (include/uapi/asm-generic/ioctls.h).
const IOCTLS: [u64; 6] = [0x5421, 0x5451, 0x5450, 0x541b, 0x5401, 0x5413];

/// What connecting and looking up a name take beside those; `socket` and `setsockopt` are told apart.
const REACH_SYSTEM_CALLS: &[libc::c_long] =
    &[libc::SYS_connect, libc::SYS_getsockname, libc::SYS_getpeername];

/// What is set at a socket, by level: how long it lives, how it sends. The resolver's asks for ICMP errors. Not among it:
/// what takes CAP_NET_ADMIN (marks, repair, a table of iptables).
const SOCKET_OPTIONS: &[(libc::c_int, &[libc::c_int])] = &[
    (
        libc::SOL_SOCKET,
        &[
            libc::SO_REUSEADDR,
            libc::SO_SNDBUF,
            libc::SO_RCVBUF,
            libc::SO_KEEPALIVE,
            libc::SO_LINGER,
            libc::SO_RCVTIMEO,
            libc::SO_SNDTIMEO,
        ],
    ),
    (
        libc::IPPROTO_TCP,
        &[
            libc::TCP_NODELAY,
            libc::TCP_KEEPIDLE,
            libc::TCP_KEEPINTVL,
            libc::TCP_KEEPCNT,
            libc::TCP_QUICKACK,
            libc::TCP_USER_TIMEOUT,
        ],
    ),
    (libc::IPPROTO_IP, &[libc::IP_RECVERR]),
    (libc::IPPROTO_IPV6, &[libc::IPV6_RECVERR, libc::IPV6_V6ONLY]),
];

/// Of a socket's type, beside the type itself.
const SOCKET_FLAGS: libc::c_int = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;

/// musl's resolver binds its socket before it asks. Nothing listens at it: `listen` is among what is gone.
const RESOLVE_SYSTEM_CALLS: &[libc::c_long] = &[libc::SYS_bind];

/// Where names are asked for.
const DNS_PORT: u16 = 53;

/// Calls that newer machines have not.
#[cfg(target_arch = "x86_64")]
const OLD_SYSTEM_CALLS: &[libc::c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_unlink,
    libc::SYS_mkdir,
    libc::SYS_poll,
    libc::SYS_epoll_wait,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_SYSTEM_CALLS: &[libc::c_long] = &[];

const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

fn flags(flag: libc::c_int) -> u64 {
    u64::from(flag.cast_unsigned())
}

type Condition = Result<SeccompCondition, BackendError>;

/// The argument at this place is so.
fn is(place: u8, value: u64) -> Condition {
    SeccompCondition::new(place, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

/// It is so in these bits.
fn masked(place: u8, mask: u64, value: u64) -> Condition {
    SeccompCondition::new(place, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)
}

/// Where all of it holds.
fn rule<const N: usize>(conditions: [Condition; N]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)
}

/// TCP of the internet families, and UDP where names are asked for; no other protocol that goes by the same types (MPTCP,
/// SCTP, ping).
fn sockets(names: bool) -> Result<Vec<SeccompRule>, BackendError> {
    let tcp = (libc::SOCK_STREAM, libc::IPPROTO_TCP);
    let udp = (libc::SOCK_DGRAM, libc::IPPROTO_UDP);
    let kinds = if names { &[tcp, udp][..] } else { &[tcp] };
    let mut rules = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (type_, protocol) in kinds {
            for protocol in [0, *protocol] {
                let of_type = masked(1, flags(!SOCKET_FLAGS), flags(*type_));
                rules.push(rule([is(0, flags(family)), of_type, is(2, flags(protocol))])?);
            }
        }
    }
    Ok(rules)
}

/// Another call is answered as by a kernel that has it not: libraries know what to do then.
fn confine_system_calls(uses: &Uses) -> Result<(), ConfineError> {
    // With no socket that could be made to listen, one that does is all that it takes.
    // Which address it was asked at tells who asks from this node.
    let accept: &[libc::c_long] =
        if uses.answers { &[libc::SYS_accept4, libc::SYS_getsockname] } else { &[] };
    let reach = if uses.reach.is_empty() { &[] } else { REACH_SYSTEM_CALLS };
    let resolve = if uses.reach.contains(&DNS_PORT) { RESOLVE_SYSTEM_CALLS } else { &[] };
    let calls = SYSTEM_CALLS.iter().chain(OLD_SYSTEM_CALLS).chain(reach).chain(resolve).chain(accept);
    let plain = calls.map(|call| (*call, Vec::new()));
    let mut rules: BTreeMap<libc::c_long, Vec<SeccompRule>> = plain.collect();
    // Threads alone, in no namespace of their own. The flags of clone3 lie where no filter can look: without it
    // glibc takes clone.
    let namespaces = NAMESPACES.iter().map(|flag| flags(*flag)).sum::<u64>();
    let thread = flags(libc::CLONE_THREAD);
    let is_thread = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(thread | namespaces),
        thread,
    );
    rules.insert(libc::SYS_clone, vec![rule([is_thread])?]);
    rules
        .insert(libc::SYS_bpf, MAP_COMMANDS.map(|command| rule([is(0, command)])).collect::<Result<_, _>>()?);
    let ioctls = IOCTLS.iter().map(|request| rule([is(1, *request)]));
    rules.insert(libc::SYS_ioctl, ioctls.collect::<Result<_, _>>()?);
    let sending = SENDING.iter().filter(|(call, _)| *call != libc::SYS_sendmmsg || !uses.reach.is_empty());
    for (call, place) in sending {
        let plain = masked(*place, flags(libc::MSG_FASTOPEN), 0);
        rules.insert(*call, vec![rule([plain])?]);
    }
    if !uses.reach.is_empty() {
        rules.insert(libc::SYS_socket, sockets(uses.reach.contains(&DNS_PORT))?);
        let options =
            SOCKET_OPTIONS.iter().flat_map(|(level, names)| names.iter().map(move |name| (level, name)));
        let options = options.map(|(level, name)| rule([is(1, flags(*level)), is(2, flags(*name))]));
        rules.insert(libc::SYS_setsockopt, options.collect::<Result<_, _>>()?);
    }
    let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, unknown, SeccompAction::Allow, arch)?;
    let program: BpfProgram = filter.try_into()?;
    Ok(seccompiler::apply_filter(&program)?)
}

#[cfg(test)]
mod tests {
    use super::{DNS_PORT, Uses, confine_system_calls};
    use nix::libc;
    use nix::sys::termios::{FlushArg, tcflush};
    use socket2::{Domain, Protocol, SockAddr, Socket, Type};
    use std::io::{self, Write};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

    /// On a thread of its own: a filter is its thread's alone.
    fn confined<T: Send + 'static>(reach: &[u16], act: impl FnOnce() -> T + Send + 'static) -> T {
        let uses = Uses { reach: reach.to_vec(), ..Uses::default() };
        let thread = std::thread::spawn(move || {
            confine_system_calls(&uses).unwrap();
            act()
        });
        thread.join().unwrap()
    }

    fn errno(result: io::Result<()>) -> i32 {
        result.err().and_then(|error| error.raw_os_error()).unwrap_or_default()
    }

    #[test]
    fn sockets_of_tcp_can_be_made_where_a_server_is_followed_and_of_udp_where_it_has_a_name() {
        type Row = (Domain, Type, Option<Protocol>, [bool; 3]);
        let (none, some, name) = ([false; 3], [false, true, true], [false, false, true]);
        let rows: [Row; 11] = [
            (Domain::IPV4, Type::STREAM, None, some),
            (Domain::IPV6, Type::STREAM, Some(Protocol::TCP), some),
            (Domain::IPV4, Type::STREAM.nonblocking(), None, some),
            (Domain::IPV4, Type::DGRAM, None, name),
            (Domain::IPV6, Type::DGRAM, Some(Protocol::UDP), name),
            (Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP), none),
            (Domain::IPV4, Type::STREAM, Some(Protocol::SCTP), none),
            (Domain::IPV4, Type::DGRAM, Some(Protocol::ICMPV4), none),
            (Domain::IPV4, Type::RAW, Some(Protocol::UDP), none),
            (Domain::UNIX, Type::STREAM, None, none),
            (Domain::PACKET, Type::RAW, None, none),
        ];
        for (reach, column) in [(&[][..], 0), (&[6443], 1), (&[6443, DNS_PORT], 2)] {
            let made = confined(reach, move || {
                rows.map(|(domain, type_, protocol, _)| errno(Socket::new(domain, type_, protocol).map(drop)))
            });
            for ((domain, type_, protocol, may), errno) in rows.iter().zip(made) {
                let expected = if may[column] { 0 } else { libc::ENOSYS };
                assert_eq!(errno, expected, "{domain:?} {type_:?} {protocol:?}, reaching {reach:?}");
            }
        }
    }

    #[test]
    fn what_is_asked_of_a_socket_is_what_a_client_asks() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to: SocketAddr = listener.local_addr().unwrap();
        let rows = confined(&[6443], move || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let fast = socket.send_to_with_flags(b"x", &SockAddr::from(to), libc::MSG_FASTOPEN);
            // By an ioctl that no socket answers.
            let asked = tcflush(&socket, FlushArg::TCIOFLUSH);
            let set = [socket.set_mark(7), socket.set_tcp_nodelay(true), socket.set_keepalive(true)];
            let bound = socket.bind(&SockAddr::from(to));
            let connected = socket.connect(&SockAddr::from(to));
            let stream = TcpStream::from(socket);
            let sent = [(&stream).write(b"x").map(drop), stream.set_nonblocking(true)];
            let first = [fast.map(drop), asked.map_err(io::Error::from)];
            let all = first.into_iter().chain(set).chain([bound, connected]).chain(sent);
            all.map(errno).collect::<Vec<_>>()
        });
        let gone = libc::ENOSYS;
        assert_eq!(rows, [gone, gone, gone, 0, 0, gone, 0, 0, 0]);
    }
}
