//! Load the kernel object, tell it the kernel's offsets, attach it, take it out again.

use super::btf::{BtfError, KernelTypes};
use super::cgroups::{Cgroups, ScanError};
use super::clock::{Clock, ClockError};
use super::decode::Decoder;
use super::existing;
use super::hooks::{
    ANSWER_HOOKS, ANSWERS, ANSWERS_HELPER, Attach, DATAGRAM_HOOKS, DROP_REASONS, HOOKS, Hook,
    NO_SOCKET_REASON, PACKET_HOOKS, REASON_PREFIX,
};
use super::pins::{self, Books, Found, PinError, PinOrigin, Pinned, Pins, Unseen};
use super::registers::{self, CALLS, Registers};
use super::ring::{Maps, Rings};
use crate::model::Ledger;
use aya::programs::links::FdLink;
use aya::programs::{
    BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSockAddr, Program, ProgramError,
};
use aya::{Btf, Ebpf, EbpfError, EbpfLoader};
use aya_log::EbpfLogger;
use flowlog_common::for_each_offset;
use flowlog_common::settings::{REASON_DROP, REASON_IGNORED, REASON_NO_SOCKET, REASONS};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// Observe packets, too.
    pub packets: bool,
    /// Connections may be counted in the kernel rather than told each.
    pub count_repeats: bool,
    /// Show the kernel half's own debug lines.
    pub debug: bool,
    /// Folder in bpffs in which the kernel half outlives the agent.
    pub pin: Option<PathBuf>,
    /// Files that the agent writes to, by which the next one knows what a killed one wrote.
    pub outputs: Vec<PathBuf>,
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
    /// It cannot be kept in bpffs.
    #[error(transparent)]
    Pin(#[from] PinError),
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
    /// Absent where it was taken over.
    ebpf: Option<Ebpf>,
    /// Links of hooks by name, where they are not kept in bpffs.
    links: Vec<(&'static str, FdLink)>,
    /// Descriptors of programs by hook.
    programs: Vec<(&'static str, OwnedFd)>,
    pins: Option<Pins>,
    pub(super) rings: Rings,
    /// Runs that programs missed, by hook, as they stood when they were taken out.
    missed: Vec<(&'static str, u64)>,
    /// Every hook of the table and what became of it.
    pub hooks: Vec<HookState>,
    /// How it is kept in bpffs, if it is.
    pub pinned: Option<Pinned>,
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
        if !types.has_ring_buffer() {
            return Err(LoadError::NoRing);
        }
        let Some(folder) = &options.pin else {
            return Self::load(options, &types, None, PinOrigin::New, None);
        };
        let pins = Pins::open(folder)?;
        let build = pins::build_of(OBJECT_SOURCE, options);
        match pins.look(&build, &options.off, |identity| file_length(&options.outputs, identity))? {
            Found::Same(books) => Self::adopt(options, &types, pins, &books),
            Found::Other(books) => {
                pins.part_with_misfits()?;
                let (origin, unseen) = (PinOrigin::Replaced(books.left), books.unseen());
                if let Some(unseen) = &unseen {
                    tracing::error!(why = unseen.why, "something was not seen for a while");
                }
                Self::load(options, &types, Some((pins, Some(books))), origin, unseen)
            }
            Found::Nothing => {
                pins.clear()?;
                Self::load(options, &types, Some((pins, None)), PinOrigin::New, None)
            }
            Found::Strange { events, why, alive_ns } => {
                pins.clear()?;
                tracing::error!(
                    events,
                    why,
                    "what is pinned cannot be understood: it was removed, its events are lost"
                );
                let unseen = alive_ns.map(|since_ns| {
                    let why = "what was kept in bpffs was not understood, and removed".to_owned();
                    Unseen { since_ns, why }
                });
                Self::load(options, &types, Some((pins, None)), PinOrigin::Refused { events, why }, unseen)
            }
        }
    }

    /// Take over what is pinned: nothing is loaded, and nothing is missed.
    fn adopt(
        options: &Options,
        types: &KernelTypes,
        pins: Pins,
        books: &Books,
    ) -> Result<(Self, Cgroups), LoadError> {
        let decoder = Decoder::new(Clock::measure()?, reason_names(types));
        let rings = Rings::take(&mut Maps::Pinned(&pins), decoder, None, Some(books.ledger))?;
        let cgroups = Cgroups::scan(&options.mount, &options.cgroup_root)?;
        let state =
            |hook: &Hook| HookState { hook: *hook, status: pinned_status(hook, options, types, &pins) };
        let programs = HOOKS.iter().filter_map(|hook| Some((hook.name, pins.program(hook.name)?))).collect();
        books.ledger.beat(super::clock::now_ns()?);
        let origin = PinOrigin::Adopted(books.left);
        let pinned = Pinned { path: pins.folder().to_owned(), origin, unseen: None };
        let mut capture = Self {
            ebpf: None,
            links: Vec::new(),
            programs,
            hooks: HOOKS.iter().map(state).collect(),
            pins: Some(pins),
            rings,
            missed: Vec::new(),
            pinned: Some(pinned),
        };
        capture.add_answers(options, types);
        Ok((capture, cgroups))
    }

    /// Load and attach; what is kept in bpffs goes there, and takes the place of what lies there.
    fn load(
        options: &Options,
        types: &KernelTypes,
        pins: Option<(Pins, Option<Books>)>,
        origin: PinOrigin,
        unseen: Option<Unseen>,
    ) -> Result<(Self, Cgroups), LoadError> {
        let (pins, before) =
            pins.map_or((None, None), |(pins, books)| (Some(pins), books.map(|books| books.ledger)));
        // One that no programs had before, also where replacing them broke off.
        let generation =
            before.map_or(0, |ledger| u16::try_from((ledger.count_run() + 1) & 0xffff).unwrap_or(0));
        if let Some(ledger) = before {
            ledger.set_complete(false);
        }
        let mut ebpf = load_object(options, types, pins.as_ref(), generation)?;
        let logger = options.debug.then(|| EbpfLogger::init(&mut ebpf)).transpose().map_err(|error| {
            LoadError::Object { what: format!("the kernel half's debug lines: {}", chain(&error)) }
        })?;
        let decoder = Decoder::new(Clock::measure()?, reason_names(types));
        let mut maps = match &pins {
            Some(pins) => Maps::Pinned(pins),
            None => Maps::Loaded(&mut ebpf),
        };
        let ledger = match (before, pins.is_some()) {
            (None, true) => Some(maps.ledger()?),
            (before, _) => before,
        };
        let rings = Rings::take(&mut maps, decoder, logger, ledger)?;
        let btf = Btf::parse_file(&options.btf, aya::Endianness::default())
            .map_err(|error| LoadError::Object { what: chain(&error) })?;
        let mut capture = Self {
            ebpf: Some(ebpf),
            links: Vec::new(),
            programs: Vec::new(),
            rings,
            missed: Vec::new(),
            hooks: Vec::with_capacity(HOOKS.len() + 1),
            pinned: pins.as_ref().map(|pins| Pinned { path: pins.folder().to_owned(), origin, unseen }),
            pins,
        };
        let of = |wanted: fn(&Attach) -> bool| HOOKS.into_iter().filter(move |hook| wanted(&hook.attach));
        for hook in of(|attach| matches!(attach, Attach::Tracepoint { .. })) {
            capture.add(hook, options, types, &btf)?;
        }
        let cgroups = Cgroups::scan(&options.mount, &options.cgroup_root)?;
        for hook in of(|attach| matches!(attach, Attach::Cgroup | Attach::Packets { .. })) {
            capture.add(hook, options, types, &btf)?;
        }
        capture.part_datagram_hooks();
        for hook in of(|attach| matches!(attach, Attach::Iterator { .. })) {
            capture.add(hook, options, types, &btf)?;
        }
        if let Some(ledger) = ledger {
            if before.is_some() {
                // What was there before these programs was seen by those before them, unless a hook had been taken out.
                capture.rings.existing.keep_unseen();
                ledger.set_generation(generation, super::clock::now_ns()?);
            }
            capture.pin()?;
            ledger.begin(&pins::build_of(OBJECT_SOURCE, options));
            ledger.beat(super::clock::now_ns()?);
            ledger.set_complete(true);
        }
        capture.add_answers(options, types);
        Ok((capture, cgroups))
    }

    /// Keep every hook in bpffs.
    fn pin(&mut self) -> Result<(), LoadError> {
        let (Some(pins), Some(ebpf)) = (&self.pins, &mut self.ebpf) else { return Ok(()) };
        let mut kept = Vec::new();
        for (name, link) in self.links.drain(..) {
            let hook = HOOKS.iter().find(|hook| hook.name == name);
            let Some(program) = hook.and_then(|hook| ebpf.program_mut(hook.program)) else { continue };
            pins.keep(name, program, link)?;
            kept.push(name);
        }
        pins.keep_only(&kept)?;
        Ok(())
    }

    /// Where what was told is marked, where it outlives the agent.
    pub fn ledger(&self) -> Option<&'static Ledger> {
        self.rings.ledger
    }

    /// Runs that the kernel left out, by hook: a tracepoint's program that is running is not run again on the same CPU
    /// by what interrupts it (`bpf_prog_info.recursion_misses`, kernel 5.12; 0 before).
    pub(super) fn missed(&self) -> Vec<(&'static str, u64)> {
        if !self.missed.is_empty() {
            return self.missed.clone();
        }
        let missed = |hook: &Hook| {
            let (_, fd) = self.programs.iter().find(|(name, _)| *name == hook.name)?;
            let fd = fd.as_fd().as_raw_fd();
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
            info.lines().find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse().ok())
        };
        HOOKS.iter().map(|hook| (hook.name, missed(hook).unwrap_or(0))).collect()
    }

    /// Take every program out, unless it is kept in bpffs. What the rings hold can still be drained.
    pub fn detach(&mut self) {
        self.missed = self.missed();
        self.links.clear();
        if self.pins.is_some() {
            return;
        }
        self.programs.clear();
        for (name, program) in self.ebpf.iter_mut().flat_map(Ebpf::programs_mut) {
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
        let status = if !is_on(hook.name, options) {
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
        let on_them = |state: &&mut HookState| of_datagrams(state) || PACKET_HOOKS.contains(&state.hook.name);
        for state in self.hooks.iter_mut().filter(on_them) {
            if state.status == HookStatus::Attached {
                state.status = HookStatus::Missing { why: why.clone() };
                self.links.retain(|(name, _)| *name != state.hook.name);
                self.programs.retain(|(name, _)| *name != state.hook.name);
                if let Some(program) =
                    self.ebpf.as_mut().and_then(|ebpf| ebpf.program_mut(state.hook.program))
                {
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
        let Some(program) = self.ebpf.as_mut().and_then(|ebpf| ebpf.program_mut(hook.program)) else {
            return Err(LoadError::Object { what: format!("the object has no program {}", hook.program) });
        };
        let attached = match hook.attach {
            Attach::Tracepoint { name, arguments, reason } => match types.find_tracepoint(name) {
                None => Err(format!("the kernel has no tracepoint {name} (since {})", hook.kernel)),
                Some(found) if found < arguments => Err(format!(
                    "the tracepoint {name} has {found} arguments, {arguments} are needed (since {})",
                    hook.kernel
                )),
                Some(_) if reason.is_some_and(|reason| !types.has_drop_reason(reason)) => {
                    Err(format!("the kernel gives no reason for netfilter's drops (since {})", hook.kernel))
                }
                Some(_) => attach_tracepoint(program, name, btf).map(Some).map_err(|error| chain(&error)),
            },
            Attach::Iterator { needs, .. } if !types.has_function(needs) => {
                Err(format!("the kernel has no {needs} (since {})", hook.kernel))
            }
            Attach::Iterator { name, .. } => {
                match existing::walk(program, name, btf, &mut self.rings.decoder) {
                    Ok(found) => {
                        self.rings.existing = found;
                        Ok(None)
                    }
                    Err(error) => Err(chain(&error)),
                }
            }
            Attach::Part { .. } => Err("it is a part of other hooks".to_owned()),
            Attach::Cgroup | Attach::Packets { .. } => {
                let cgroup = File::open(&options.cgroup_root)
                    .map_err(|source| LoadError::Cgroup { path: options.cgroup_root.clone(), source })?;
                let attached = match hook.attach {
                    Attach::Packets { coming } => attach_packets(program, &cgroup, coming),
                    _ => attach_cgroup(program, &cgroup),
                };
                attached.map(Some).map_err(|error| chain(&error))
            }
        };
        Ok(attached.map(|link| {
            let Some(link) = link else { return };
            let fd = program.fd().ok().and_then(|fd| fd.as_fd().try_clone_to_owned().ok());
            self.programs.extend(fd.map(|fd| (hook.name, fd)));
            self.links.push((hook.name, link));
        }))
    }
}

fn unload(name: &str, program: &mut Program) {
    let unloaded = match program {
        Program::CgroupSockAddr(program) => program.unload(),
        Program::CgroupSkb(program) => program.unload(),
        Program::BtfTracePoint(program) => program.unload(),
        Program::Iter(program) => program.unload(),
        _ => Ok(()),
    };
    match unloaded {
        Ok(()) | Err(ProgramError::NotLoaded) => {}
        Err(error) => tracing::warn!(program = name, error = chain(&error), "detach failed"),
    }
}

fn attach_tracepoint(program: &mut Program, name: &str, btf: &Btf) -> Result<FdLink, ProgramError> {
    let program: &mut BtfTracePoint = program.try_into()?;
    program.load(name, btf)?;
    let link = program.attach()?;
    Ok(program.take_link(link)?.into())
}

/// Link based: several programs may sit at one cgroup, and the link goes with the process. A link takes no
/// attach flags, which is what `Single` sends.
fn attach_cgroup(program: &mut Program, cgroup: &File) -> Result<FdLink, ProgramError> {
    let program: &mut CgroupSockAddr = program.try_into()?;
    program.load()?;
    let link = program.attach(cgroup, CgroupAttachMode::Single)?;
    // Links are there since kernel 5.7, and nothing older is supported.
    program.take_link(link)?.try_into().map_err(|_| ProgramError::NotAttached)
}

/// The same for a program that sees packets.
fn attach_packets(program: &mut Program, cgroup: &File, coming: bool) -> Result<FdLink, ProgramError> {
    let program: &mut CgroupSkb = program.try_into()?;
    program.load()?;
    let side = if coming { CgroupSkbAttachType::Ingress } else { CgroupSkbAttachType::Egress };
    let link = program.attach(cgroup, side, CgroupAttachMode::Single)?;
    program.take_link(link)?.try_into().map_err(|_| ProgramError::NotAttached)
}

/// How a hook stands that was attached by an agent before.
fn pinned_status(hook: &Hook, options: &Options, types: &KernelTypes, pins: &Pins) -> HookStatus {
    let walked = matches!(hook.attach, Attach::Iterator { needs, .. } if types.has_function(needs));
    if pins.has_link(hook.name) || (walked && is_on(hook.name, options)) {
        HookStatus::Attached
    } else if !is_on(hook.name, options) {
        HookStatus::Off
    } else {
        HookStatus::Missing { why: "it was not to be had when what is pinned was loaded".to_owned() }
    }
}

/// How long an output's file is, by device and inode: under its name, or renamed beside it.
fn file_length(outputs: &[PathBuf], identity: (u64, u64)) -> Option<u64> {
    let is_it = |found: &fs::Metadata| (found.dev(), found.ino()) == identity;
    let named = outputs.iter().filter_map(|path| fs::metadata(path).ok());
    let folders = outputs.iter().filter_map(|path| path.canonicalize().ok()?.parent().map(Path::to_owned));
    let beside = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let beside = beside.filter_map(|entry| entry.ok()?.metadata().ok());
    named.chain(beside).find(is_it).map(|found| found.len())
}

macro_rules! rows {
    ($($symbol:ident: $($of:literal $member:literal),+;)*) => {
        /// Every offset: its symbol in the object, and the members whose offsets add up to it.
        const OFFSETS: &[(&str, &[(&str, &str)])] = &[$((stringify!($symbol), &[$(($of, $member)),+])),*];
    };
}

for_each_offset!(rows);

/// What `bpf_get_socket_cookie` is for programs at tracepoints (kernel 5.12).
const COOKIES_IN_TRACEPOINTS: &str = "bpf_get_socket_ptr_cookie";

fn load_object(
    options: &Options,
    types: &KernelTypes,
    pins: Option<&Pins>,
    generation: u16,
) -> Result<Ebpf, LoadError> {
    let offsets = OFFSETS
        .iter()
        .map(|(symbol, members)| Ok((*symbol, offset_of(types, members)?)))
        .collect::<Result<Vec<(&str, u32)>, LoadError>>()?;
    let reasons = reason_table(types);
    // What is kept for the next agent has room of its own.
    let doubled = |bytes: u32| if pins.is_some() { bytes.saturating_mul(2) } else { bytes };
    let (events_bytes, cgroups_bytes) = (doubled(options.events_bytes), doubled(options.cgroups_bytes));
    let ring_bytes = pins.map_or(Ok(events_bytes), |pins| ring_bytes(pins, events_bytes))?;
    // Half of it is kept for the next agent, and so always filled.
    let kept_bytes = u64::from(if pins.is_some() { ring_bytes / 2 } else { 0 });
    let wake_bytes = (u64::from(ring_bytes) - kept_bytes) / 2;
    let ledger_entries = if pins.is_some() { pins::ledger_entries(ring_bytes) } else { 1 };
    let tally_entries = if pins.is_some() { pins::tally_entries() } else { 1 };
    let generation = u32::from(generation);
    let send_hook = u8::from(is_on("send", options) && types.find_tracepoint("sock_send_length").is_some());
    let recv_hook = u8::from(is_on("recv", options) && types.find_tracepoint("sock_recv_length").is_some());
    let [packets_in, packets] = [&PACKET_HOOKS[..1], &PACKET_HOOKS]
        .map(|hooks| u8::from(hooks.iter().any(|hook| is_on(hook, options))));
    // What is counted at its handshake must be seen to have one.
    let count_repeats = u8::from(options.count_repeats && is_on("set_state", options));
    let registers = find_registers(options, types);
    let copy_answers = u8::from(registers.is_ok());
    let Registers { number, second, third } = registers.unwrap_or_default();
    let calls = CALLS.map(|(name, number)| (name, u32::try_from(number).unwrap_or(u32::MAX)));
    let paths: Vec<_> =
        pins.iter().flat_map(|pins| pins::names().map(|name| (name, pins.map_path(name)))).collect();
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
        .override_global("KEPT_BYTES", &kept_bytes, true)
        .override_global("SEND_HOOK", &send_hook, true)
        .override_global("RECV_HOOK", &recv_hook, true)
        .override_global("PACKETS", &packets, true)
        .override_global("PACKETS_IN", &packets_in, true)
        .override_global("COUNT_REPEATS", &count_repeats, true)
        .override_global("GENERATION", &generation, true)
        .override_global("TYPED_CGROUP", &typed_cgroup, true)
        .override_global("MAKES_COOKIES", &makes_cookies, true)
        .override_global(aya_log::LEVEL, &log_level, true)
        .map_max_entries("EVENTS", events_bytes)
        .map_max_entries("CGROUPS", cgroups_bytes)
        .map_max_entries("LEDGER", ledger_entries)
        .map_max_entries("TALLY", tally_entries);
    if makes_cookies != 0 {
        loader.map_max_entries("CHILDREN", 1);
    }
    for (name, path) in &paths {
        loader.map_pin_path(name, path);
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

/// Size of the ring: of the one that is pinned, since that is not made anew, else as asked for.
fn ring_bytes(pins: &Pins, asked: u32) -> Result<u32, LoadError> {
    if !pins.map_path("EVENTS").exists() {
        return Ok(asked);
    }
    let map = pins.map("EVENTS")?;
    let there = map.info().map_err(|error| LoadError::Object { what: chain(&error) })?.max_entries();
    if there != asked {
        tracing::warn!(
            bytes = there / 2,
            "the pinned ring keeps its size; `flowlog detach` first to change it"
        );
    }
    Ok(there)
}

fn is_on(hook: &str, options: &Options) -> bool {
    let asked_for = options.packets || !PACKET_HOOKS.contains(&hook);
    asked_for && !options.off.iter().any(|name| name == hook)
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
        if *name == *NO_SOCKET_REASON {
            table[number] = REASON_NO_SOCKET;
        } else if DROP_REASONS.contains(&&*name) {
            table[number] = REASON_DROP;
        }
    }
    table
}

/// Names of the running kernel's reasons, by number: they differ from kernel to kernel.
fn reason_names(types: &KernelTypes) -> Vec<Option<Arc<str>>> {
    let mut names = vec![None; REASONS];
    for (name, number) in types.find_enum("skb_drop_reason") {
        let slot = usize::try_from(number).ok().and_then(|number| names.get_mut(number));
        if let (Some(slot), Some(name)) = (slot, name.strip_prefix(REASON_PREFIX)) {
            *slot = Some(name.into());
        }
    }
    names
}

/// An error with its causes in one line; the verifier's log is cut to its end, where it says what is wrong.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
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
        COOKIES_IN_TRACEPOINTS, OBJECT, OBJECT_SOURCE, OFFSETS, offset_of, reason_names, reason_table,
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
        assert!(types.has_function(COOKIES_IN_TRACEPOINTS) && types.has_ring_buffer());
    }

    #[test]
    fn reasons_are_told_apart_by_the_running_kernels_names() {
        let types = KernelTypes::read(Path::new(VMLINUX)).unwrap();
        let (names, table) = (reason_names(&types), reason_table(&types));
        let known = names.iter().flatten().filter(|name| DROP_REASONS.contains(&&***name)).count();
        assert_eq!(table.iter().filter(|entry| **entry == REASON_DROP).count(), known);
        assert!(known > 5, "{names:?}");
        assert_eq!(table.iter().filter(|entry| **entry == REASON_NO_SOCKET).count(), 1);
        let other = names.iter().position(|name| name.as_deref() == Some("OTHERHOST")).unwrap();
        assert_eq!(table[other], REASON_IGNORED);
    }
}
