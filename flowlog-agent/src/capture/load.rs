//! Load the kernel object, tell it the kernel's offsets, attach it, take it out again.

use super::btf::{BtfError, KernelTypes};
use super::cgroups::{Cgroups, ScanError};
use super::clock::{Clock, ClockError};
use super::decode::Decoder;
use super::existing;
use super::hooks::{
    ANSWER_HOOKS, ANSWERS, ANSWERS_HELPER, Attach, DATAGRAM_HOOKS, DROP_REASONS, HOOKS, Hook,
    NO_SOCKET_REASON, REASON_PREFIX,
};
use super::registers::{self, CALLS, Registers};
use super::ring::Rings;
use aya::programs::{BtfTracePoint, CgroupAttachMode, CgroupSockAddr, Program, ProgramError};
use aya::{Btf, Ebpf, EbpfError, EbpfLoader};
use aya_log::EbpfLogger;
use flowlog_common::for_each_offset;
use flowlog_common::settings::{REASON_DROP, REASON_IGNORED, REASON_NO_SOCKET, REASONS};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

/// The kernel half, built from source by this crate's build script.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("FLOWLOG_BPF_OBJECT"));

/// Hash of the sources that the embedded kernel half was built from, 32 hex digits.
pub const OBJECT_SOURCE: &str = env!("FLOWLOG_BPF_SOURCE");

/// What to load and where to attach it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cgroup2 mount.
    pub mount: PathBuf,
    /// The cgroup whose connects are observed: the mount, or one below it.
    pub cgroup_root: PathBuf,
    /// The kernel's BTF.
    pub btf: PathBuf,
    /// Size of the ring of events, bytes; a power of two, a multiple of the page size.
    pub events_bytes: u32,
    /// Size of the ring of cgroup events, bytes; as above.
    pub cgroups_bytes: u32,
    /// Names of hooks that are not to be attached.
    pub off: Vec<String>,
    /// Connections may be counted in the kernel rather than told each.
    pub count_repeats: bool,
    /// Show the kernel half's own debug lines.
    pub debug: bool,
}

/// Why the kernel half does not run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The kernel shows no types, so nothing can be found in its structs.
    #[error("{0}; `flowlog check` tells what this host lacks")]
    Types(#[from] BtfError),
    /// A kernel struct has not the member that is read.
    #[error(
        "this kernel has no {member}; flowlog does not know its layout (please report the kernel's version)"
    )]
    Layout {
        /// `struct.member`.
        member: String,
    },
    /// The kernel has not what events travel in.
    #[error(
        "this kernel has no ring buffer for BPF programs (5.8 has); boot a kernel of version 5.10 or newer: \
         `flowlog check` tells what this host lacks"
    )]
    NoRing,
    /// The kernel refuses the object or a map.
    #[error(
        "load the kernel half: {what}; needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN: `flowlog check` tells"
    )]
    Object {
        /// The chain of causes.
        what: String,
    },
    /// A hook that flowlog cannot do without is not there.
    #[error("hook {hook}: {why}; without it: {without}. `flowlog check` tells what this host lacks")]
    Hook {
        /// The hook's name.
        hook: &'static str,
        /// What happened.
        why: String,
        /// What it would give.
        without: &'static str,
    },
    /// No hook has this name.
    #[error("there is no hook {name:?} to switch off; the hooks are {}, {}", HOOKS.map(|hook| hook.name).join(", "), ANSWERS.name)]
    NoSuchHook {
        /// The name.
        name: String,
    },
    /// The cgroup to attach to cannot be opened.
    #[error("open the cgroup {path}: {source}")]
    Cgroup {
        /// The folder.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The cgroup tree cannot be scanned.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The clock cannot be read.
    #[error(transparent)]
    Clock(#[from] ClockError),
}

/// Whether a hook observes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookStatus {
    /// It does.
    Attached,
    /// Switched off by configuration.
    Off,
    /// This kernel has it not, or refuses it.
    Missing {
        /// Why.
        why: String,
    },
}

/// A hook and whether it observes.
#[derive(Clone, Debug)]
pub struct HookState {
    /// The hook.
    pub hook: Hook,
    /// Whether it observes.
    pub status: HookStatus,
}

/// The kernel half, loaded and attached.
pub struct Capture {
    ebpf: Ebpf,
    pub(super) rings: Rings,
    /// Runs that programs missed, by hook, as they stood when they were taken out.
    missed: Vec<(&'static str, u64)>,
    /// Every hook of the table and what became of it.
    pub hooks: Vec<HookState>,
}

impl Capture {
    /// Load and attach everything that this kernel and the configuration allow; the cgroup tree is scanned
    /// between the cgroup hooks and the first attempt that can be seen.
    ///
    /// # Errors
    /// What flowlog cannot do without is missing; each error says how to mend it.
    pub fn start(options: &Options) -> Result<(Self, Cgroups), LoadError> {
        let known = |name: &String| HOOKS.iter().chain([&ANSWERS]).any(|hook| hook.name == *name);
        if let Some(name) = options.off.iter().find(|name| !known(name)) {
            return Err(LoadError::NoSuchHook { name: name.clone() });
        }
        let types = KernelTypes::read(&options.btf)?;
        if !has_rings(&types) {
            return Err(LoadError::NoRing);
        }
        let mut ebpf = load_object(options, &types)?;
        let logger = options.debug.then(|| EbpfLogger::init(&mut ebpf)).transpose().map_err(|error| {
            LoadError::Object { what: format!("the kernel half's debug lines: {}", chain(&error)) }
        })?;
        let decoder = Decoder::new(Clock::measure()?, reason_names(&types));
        let rings = Rings::take(&mut ebpf, decoder, logger)?;
        let btf = Btf::parse_file(&options.btf, aya::Endianness::default())
            .map_err(|error| LoadError::Object { what: chain(&error) })?;
        let mut capture =
            Self { ebpf, rings, missed: Vec::new(), hooks: Vec::with_capacity(HOOKS.len() + 1) };
        let of = |wanted: fn(&Attach) -> bool| HOOKS.into_iter().filter(move |hook| wanted(&hook.attach));
        for hook in of(|attach| matches!(attach, Attach::Tracepoint { .. })) {
            capture.add(hook, options, &types, &btf)?;
        }
        let cgroups = Cgroups::scan(&options.mount, &options.cgroup_root)?;
        for hook in of(|attach| matches!(attach, Attach::Cgroup)) {
            capture.add(hook, options, &types, &btf)?;
        }
        capture.part_datagram_hooks();
        for hook in of(|attach| matches!(attach, Attach::Iterator { .. })) {
            capture.add(hook, options, &types, &btf)?;
        }
        capture.add_answers(options, &types);
        Ok((capture, cgroups))
    }

    /// Runs that the kernel left out, by hook: a tracepoint's program that is running is not run again on the same CPU
    /// by what interrupts it (`bpf_prog_info.recursion_misses`, kernel 5.12; 0 before).
    pub(super) fn missed(&self) -> Vec<(&'static str, u64)> {
        if !self.missed.is_empty() {
            return self.missed.clone();
        }
        let missed = |hook: &Hook| {
            let program = self.ebpf.program(hook.program)?;
            let fd = program.fd().ok()?.as_fd().as_raw_fd();
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
            info.lines().find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse().ok())
        };
        HOOKS.iter().map(|hook| (hook.name, missed(hook).unwrap_or(0))).collect()
    }

    /// Take every program out. What the rings hold can still be drained.
    pub fn detach(&mut self) {
        self.missed = self.missed();
        for (name, program) in self.ebpf.programs_mut() {
            unload(name, program);
        }
    }

    fn add(
        &mut self,
        hook: Hook,
        options: &Options,
        types: &KernelTypes,
        btf: &Btf,
    ) -> Result<(), LoadError> {
        let status = if options.off.iter().any(|name| name == hook.name) {
            HookStatus::Off
        } else {
            match self.attach(&hook, options, types, btf)? {
                Ok(()) => HookStatus::Attached,
                Err(why) if hook.needed => {
                    return Err(LoadError::Hook { hook: hook.name, why, without: hook.without });
                }
                Err(why) => HookStatus::Missing { why },
            }
        };
        self.hooks.push(HookState { hook, status });
        Ok(())
    }

    /// Where one of the hooks on datagrams is missing, take the others out.
    fn part_datagram_hooks(&mut self) {
        let of_datagrams = |state: &&mut HookState| DATAGRAM_HOOKS.contains(&state.hook.name);
        let absent = self.hooks.iter_mut().filter(of_datagrams);
        let absent = absent.filter(|state| state.status != HookStatus::Attached).map(|state| state.hook.name);
        let absent: Vec<&str> = absent.collect();
        if absent.is_empty() {
            return;
        }
        let why = format!("it needs {}, which observes not", absent.join(", "));
        for state in self.hooks.iter_mut().filter(of_datagrams) {
            if state.status == HookStatus::Attached {
                state.status = HookStatus::Missing { why: why.clone() };
                if let Some(program) = self.ebpf.program_mut(state.hook.program) {
                    unload(state.hook.program, program);
                }
            }
        }
    }

    /// Whether DNS answers are copied: the programs do it where they may.
    fn add_answers(&mut self, options: &Options, types: &KernelTypes) {
        let taking = |state: &HookState| {
            ANSWER_HOOKS.contains(&state.hook.name) && state.status == HookStatus::Attached
        };
        let status = if !is_on(ANSWERS.name, options) {
            HookStatus::Off
        } else if let Err(why) = find_registers(options, types) {
            HookStatus::Missing { why }
        } else if !self.hooks.iter().any(taking) {
            let why = format!("it needs one of {}, none of which observes", ANSWER_HOOKS.join(", "));
            HookStatus::Missing { why }
        } else {
            HookStatus::Attached
        };
        self.hooks.push(HookState { hook: ANSWERS, status });
    }

    /// The inner error is this hook's own; the outer one ends the start.
    fn attach(
        &mut self,
        hook: &Hook,
        options: &Options,
        types: &KernelTypes,
        btf: &Btf,
    ) -> Result<Result<(), String>, LoadError> {
        let Some(program) = self.ebpf.program_mut(hook.program) else {
            return Err(LoadError::Object { what: format!("the object has no program {}", hook.program) });
        };
        Ok(match hook.attach {
            Attach::Tracepoint { name, arguments } => match types.find_tracepoint(name) {
                None => Err(format!("the kernel has no tracepoint {name} (since {})", hook.kernel)),
                Some(found) if found < arguments => Err(format!(
                    "the tracepoint {name} has {found} arguments, {arguments} are needed (since {})",
                    hook.kernel
                )),
                Some(_) if hook.name == "drop" && !names_filter_drops(types) => {
                    Err(format!("the kernel gives no reason for netfilter's drops (since {})", hook.kernel))
                }
                Some(_) => attach_tracepoint(program, name, btf).map_err(|error| chain(&error)),
            },
            Attach::Iterator { needs, .. } if !types.has_function(needs) => {
                Err(format!("the kernel has no {needs} (since {})", hook.kernel))
            }
            Attach::Iterator { name, .. } => match existing::walk(program, name, btf, &self.rings.decoder) {
                Ok(found) => {
                    self.rings.existing = found;
                    Ok(())
                }
                Err(error) => Err(chain(&error)),
            },
            Attach::Part { .. } => Err("it is a part of other hooks".to_owned()),
            Attach::Cgroup => {
                let cgroup = File::open(&options.cgroup_root)
                    .map_err(|source| LoadError::Cgroup { path: options.cgroup_root.clone(), source })?;
                attach_cgroup(program, &cgroup).map_err(|error| chain(&error))
            }
        })
    }
}

fn unload(name: &str, program: &mut Program) {
    let unloaded = match program {
        Program::CgroupSockAddr(program) => program.unload(),
        Program::BtfTracePoint(program) => program.unload(),
        Program::Iter(program) => program.unload(),
        _ => Ok(()),
    };
    match unloaded {
        Ok(()) | Err(ProgramError::NotLoaded) => {}
        Err(error) => tracing::warn!(program = name, error = chain(&error), "detach failed"),
    }
}

fn attach_tracepoint(program: &mut Program, name: &str, btf: &Btf) -> Result<(), ProgramError> {
    let program: &mut BtfTracePoint = program.try_into()?;
    program.load(name, btf)?;
    program.attach()?;
    Ok(())
}

/// Link based: several programs may sit at one cgroup, and the link goes with the process. A link takes no
/// attach flags, which is what `Single` sends.
fn attach_cgroup(program: &mut Program, cgroup: &File) -> Result<(), ProgramError> {
    let program: &mut CgroupSockAddr = program.try_into()?;
    program.load()?;
    program.attach(cgroup, CgroupAttachMode::Single)?;
    Ok(())
}

macro_rules! rows {
    ($($symbol:ident: $($of:literal $member:literal),+;)*) => {
        /// Every offset: its symbol in the object, and the members whose offsets add up to it.
        const OFFSETS: &[(&str, &[(&str, &str)])] = &[$((stringify!($symbol), &[$(($of, $member)),+])),*];
    };
}

for_each_offset!(rows);

fn has_rings(types: &KernelTypes) -> bool {
    types.find_enum("bpf_map_type").iter().any(|(name, _)| name == "BPF_MAP_TYPE_RINGBUF")
}

/// What `bpf_get_socket_cookie` is for programs at tracepoints (kernel 5.12).
const COOKIES_IN_TRACEPOINTS: &str = "bpf_get_socket_ptr_cookie";

fn load_object(options: &Options, types: &KernelTypes) -> Result<Ebpf, LoadError> {
    let offsets = OFFSETS
        .iter()
        .map(|(symbol, members)| Ok((*symbol, offset_of(types, members)?)))
        .collect::<Result<Vec<(&str, u32)>, LoadError>>()?;
    let reasons = reason_table(types);
    let wake_bytes = u64::from(options.events_bytes / 2);
    let send_hook = u8::from(is_on("send", options) && types.find_tracepoint("sock_send_length").is_some());
    let recv_hook = u8::from(is_on("recv", options) && types.find_tracepoint("sock_recv_length").is_some());
    // What is counted at its handshake must be seen to have one.
    let count_repeats = u8::from(options.count_repeats && is_on("set_state", options));
    let registers = find_registers(options, types);
    let copy_answers = u8::from(registers.is_ok());
    let Registers { number, second, third } = registers.unwrap_or_default();
    let calls = CALLS.map(|(name, number)| (name, u32::try_from(number).unwrap_or(u32::MAX)));
    let typed_cgroup = u8::from(types.find_member("sock_cgroup_data", "cgroup").is_some());
    let makes_cookies = u8::from(types.has_function(COOKIES_IN_TRACEPOINTS));
    // aya-log's levels count from 1 (error) to 5 (trace); at 0 the verifier prunes every debug line.
    let log_level: u8 = if options.debug { 5 } else { 0 };
    let mut loader = EbpfLoader::new();
    for (symbol, offset) in &offsets {
        loader.override_global(symbol, offset, true);
    }
    for (symbol, number) in &calls {
        loader.override_global(symbol, number, true);
    }
    loader
        .override_global("COPY_ANSWERS", &copy_answers, true)
        .override_global("REGS_NUMBER", &number, true)
        .override_global("REGS_SECOND", &second, true)
        .override_global("REGS_THIRD", &third, true)
        .override_global("DROP_REASONS", &reasons, true)
        .override_global("WAKE_BYTES", &wake_bytes, true)
        .override_global("SEND_HOOK", &send_hook, true)
        .override_global("RECV_HOOK", &recv_hook, true)
        .override_global("COUNT_REPEATS", &count_repeats, true)
        .override_global("TYPED_CGROUP", &typed_cgroup, true)
        .override_global("MAKES_COOKIES", &makes_cookies, true)
        .override_global(aya_log::LEVEL, &log_level, true)
        .map_max_entries("EVENTS", options.events_bytes)
        .map_max_entries("CGROUPS", options.cgroups_bytes);
    if makes_cookies != 0 {
        loader.map_max_entries("CHILDREN", 1);
    }
    loader.load(OBJECT).map_err(|error: EbpfError| LoadError::Object { what: chain(&error) })
}

/// Where DNS answers are found; why they are not, where not.
fn find_registers(options: &Options, types: &KernelTypes) -> Result<Registers, String> {
    if !is_on(ANSWERS.name, options) {
        return Err("switched off".to_owned());
    }
    if !types.has_helper(ANSWERS_HELPER) {
        return Err(format!("the kernel has no helper task_pt_regs (since {})", ANSWERS.kernel));
    }
    registers::find(types).ok_or_else(|| "the arguments of system calls are not known here".to_owned())
}

fn is_on(hook: &str, options: &Options) -> bool {
    !options.off.iter().any(|name| name == hook)
}

fn offset_of(types: &KernelTypes, members: &[(&str, &str)]) -> Result<u32, LoadError> {
    members
        .iter()
        .map(|(of, member)| {
            types
                .find_member(of, member)
                .ok_or_else(|| LoadError::Layout { member: format!("struct {of}.{member}") })
        })
        .sum()
}

/// What each reason of this kernel means to the kernel half.
fn reason_table(types: &KernelTypes) -> [u8; REASONS] {
    let mut table = [REASON_IGNORED; REASONS];
    for (number, name) in reason_names(types).into_iter().enumerate() {
        let Some(name) = name else { continue };
        if name == NO_SOCKET_REASON {
            table[number] = REASON_NO_SOCKET;
        } else if DROP_REASONS.contains(&name.as_str()) {
            table[number] = REASON_DROP;
        }
    }
    table
}

fn names_filter_drops(types: &KernelTypes) -> bool {
    reason_names(types).iter().flatten().any(|name| name == DROP_REASONS[0])
}

/// Names of the running kernel's reasons, by number: they differ from kernel to kernel.
fn reason_names(types: &KernelTypes) -> Vec<Option<String>> {
    let mut names = vec![None; REASONS];
    for (name, number) in types.find_enum("skb_drop_reason") {
        let slot = usize::try_from(number).ok().and_then(|number| names.get_mut(number));
        if let (Some(slot), Some(name)) = (slot, name.strip_prefix(REASON_PREFIX)) {
            *slot = Some(name.to_owned());
        }
    }
    names
}

/// An error with its causes in one line; the verifier's log is cut to its end, where it says what is wrong.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let told = cause.to_string();
        if !text.contains(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        source = cause.source();
    }
    let text = text.replace(" Verifier output: :", ":");
    match text.char_indices().nth_back(1_500) {
        Some((start, _)) => format!("…{}", &text[start..]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        COOKIES_IN_TRACEPOINTS, OBJECT, OBJECT_SOURCE, OFFSETS, has_rings, offset_of, reason_names,
        reason_table,
    };
    use crate::capture::btf::{KernelTypes, VMLINUX};
    use crate::capture::hooks::{DROP_REASONS, HOOKS};
    use flowlog_common::settings::{REASON_DROP, REASON_IGNORED, REASON_NO_SOCKET};
    use std::path::Path;

    #[test]
    fn the_embedded_object_carries_the_hash_of_its_sources() {
        assert_eq!(OBJECT_SOURCE.len(), 32);
        assert!(OBJECT.windows(32).any(|window| window == OBJECT_SOURCE.as_bytes()));
    }

    #[test]
    fn every_hook_has_its_program_in_the_object() {
        for hook in HOOKS {
            let name = hook.program.as_bytes();
            assert!(OBJECT.windows(name.len()).any(|window| window == name), "{}", hook.program);
        }
    }

    #[test]
    fn every_offset_is_found_in_the_running_kernel() {
        let types = KernelTypes::read(Path::new(VMLINUX)).unwrap();
        for (symbol, members) in OFFSETS {
            assert!(offset_of(&types, members).is_ok(), "{symbol}");
        }
    }

    /// A kernel as new as those that tests run on: else accepted connections would be followed by a number that
    /// stands in.
    #[test]
    fn the_running_kernel_has_rings_and_gives_cookies_at_tracepoints() {
        let types = KernelTypes::read(Path::new(VMLINUX)).unwrap();
        assert!(types.has_function(COOKIES_IN_TRACEPOINTS) && has_rings(&types));
    }

    #[test]
    fn reasons_are_told_apart_by_the_running_kernels_names() {
        let types = KernelTypes::read(Path::new(VMLINUX)).unwrap();
        let (names, table) = (reason_names(&types), reason_table(&types));
        let known = names.iter().flatten().filter(|name| DROP_REASONS.contains(&name.as_str())).count();
        assert_eq!(table.iter().filter(|entry| **entry == REASON_DROP).count(), known);
        assert!(known > 5, "{names:?}");
        assert_eq!(table.iter().filter(|entry| **entry == REASON_NO_SOCKET).count(), 1);
        let other = names.iter().position(|name| name.as_deref() == Some("OTHERHOST")).unwrap();
        assert_eq!(table[other], REASON_IGNORED);
    }
}
