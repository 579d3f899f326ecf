//! The table of hooks: what each gives, what it needs, and what is lost without it.

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// To the cgroup2 root, or the cgroup that the configuration names.
    Cgroup,
    /// Likewise, to the packets of its sockets.
    Packets {
        /// Those that come; else those that leave.
        coming: bool,
    },
    /// To a tracepoint, by BTF.
    Tracepoint {
        /// Name as the kernel has it.
        name: &'static str,
        /// Arguments that the program reads; an older kernel's tracepoint with fewer does not serve.
        arguments: usize,
        /// A reason for drops that the kernel must give, by its whole name.
        reason: Option<&'static str>,
    },
    /// To an iterator of the kernel, which is run once, at the start.
    Iterator {
        /// Name as the kernel has it.
        name: &'static str,
        /// A kernel function that the program cannot do without.
        needs: &'static str,
    },
    /// Nowhere of its own: it is a part of other hooks' programs, which calls this helper.
    Part {
        /// Name in the kernel's `enum bpf_func_id`.
        helper: &'static str,
    },
}

/// What copying DNS answers takes of the kernel, by its name in `enum bpf_func_id`: it says where the arguments of the
/// system call are.
pub const ANSWERS_HELPER: &str = "BPF_FUNC_task_pt_regs";

/// Not attached itself: what [`ANSWER_HOOKS`] do more, where the kernel has the helper. It has a name, a state and a
/// switch as every hook.
pub const ANSWERS: Hook = Hook {
    name: "answers",
    program: "flowlog_recv",
    attach: Attach::Part { helper: ANSWERS_HELPER },
    kernel: "5.15",
    gives: "names of addresses outside the cluster, from the DNS answers that pods take",
    without: "addresses outside the cluster have no names",
    needed: false,
};

/// Hooks that see an answer taken: from connected sockets, and from others. One of them will do.
pub const ANSWER_HOOKS: [&str; 3] = ["recv", "recvmsg4", "recvmsg6"];

/// A kernel attach point with a program of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Name in configuration, `check` and records.
    pub name: &'static str,
    /// The program in the kernel object.
    pub program: &'static str,
    /// Where it is attached.
    pub attach: Attach,
    /// First kernel that has it.
    pub kernel: &'static str,
    /// What it gives.
    pub gives: &'static str,
    /// What is missing from the log without it.
    pub without: &'static str,
    /// Without it there is no point in running.
    pub needed: bool,
}

impl Hook {
    /// It costs every packet something, and is off unless asked for.
    pub fn is_asked_for(&self) -> bool {
        matches!(self.attach, Attach::Packets { .. })
    }
}

const fn tracepoint(name: &'static str, arguments: usize) -> Attach {
    Attach::Tracepoint { name, arguments, reason: None }
}

/// Every hook, in the order in which they are attached: cgroups before the scan of those that exist, outcomes
/// before attempts, so that no attempt is seen whose outcome cannot be; what was there before comes last, so that
/// nothing falls between.
pub const HOOKS: [Hook; 17] = [
    Hook {
        name: "cgroup_mkdir",
        program: "flowlog_cgroup_mkdir",
        attach: tracepoint("cgroup_mkdir", 2),
        kernel: "5.10",
        gives: "the cgroup of every pod, from before its first process",
        without: "pods that start later than flowlog are not recognised",
        needed: true,
    },
    Hook {
        name: "cgroup_rmdir",
        program: "flowlog_cgroup_rmdir",
        attach: tracepoint("cgroup_rmdir", 2),
        kernel: "5.10",
        gives: "when a pod's cgroup is gone",
        without: "cgroups that went are kept until the table is full",
        needed: false,
    },
    Hook {
        name: "set_state",
        program: "flowlog_set_state",
        attach: tracepoint("inet_sock_set_state", 3),
        kernel: "5.10",
        gives: "established, failed with its errno, closed, inbound connections",
        without: "no outcome of TCP attempts is known",
        needed: true,
    },
    Hook {
        name: "drop",
        program: "flowlog_drop",
        // The argument came with 5.17, the reason of netfilter's drops with 5.18.
        attach: Attach::Tracepoint {
            name: "kfree_skb",
            arguments: 3,
            reason: Some("SKB_DROP_REASON_NETFILTER_DROP"),
        },
        kernel: "5.18",
        gives: "proof that the node dropped a packet, with the kernel's reason; denied UDP",
        without: "a drop is inferred from silence, and a denial of unconnected UDP is not seen",
        needed: false,
    },
    Hook {
        name: "retransmit",
        program: "flowlog_retransmit",
        attach: tracepoint("tcp_retransmit_skb", 1),
        kernel: "5.10",
        gives: "`pending` after one second without an answer",
        without: "an attempt without an answer is told after 3 s as `unknown`, and corrected when it ends, after up to 130 s",
        needed: false,
    },
    Hook {
        name: "error_report",
        program: "flowlog_error_report",
        attach: tracepoint("inet_sk_error_report", 1),
        kernel: "5.15",
        gives: "ICMP errors, refused UDP",
        without: "refused and prohibited UDP is told as sent",
        needed: false,
    },
    Hook {
        name: "send",
        program: "flowlog_send",
        attach: tracepoint("sock_send_length", 2),
        kernel: "6.3",
        gives: "connected UDP, from its first datagram",
        without: "connected UDP is seen only where it is refused or dropped",
        needed: false,
    },
    Hook {
        name: "recv",
        program: "flowlog_recv",
        attach: tracepoint("sock_recv_length", 3),
        kernel: "6.3",
        gives: "answers to connected UDP",
        without: "answered connected UDP is told as sent, or as received where the far end is on this node",
        needed: false,
    },
    Hook {
        name: "recvmsg4",
        program: "flowlog_recvmsg4",
        attach: Attach::Cgroup,
        kernel: "5.8",
        gives: "who sends datagrams here over IPv4, and whose come back",
        without: "unconnected UDP is seen only where it is dropped",
        needed: false,
    },
    Hook {
        name: "recvmsg6",
        program: "flowlog_recvmsg6",
        attach: Attach::Cgroup,
        kernel: "5.8",
        gives: "the same over IPv6, and for dual-stack sockets",
        without: "unconnected UDP is seen only where it is dropped",
        needed: false,
    },
    Hook {
        name: "sendmsg4",
        program: "flowlog_sendmsg4",
        attach: Attach::Cgroup,
        kernel: "5.8",
        gives: "to whom unconnected sockets send over IPv4",
        without: "unconnected UDP is seen only where it is dropped",
        needed: false,
    },
    Hook {
        name: "sendmsg6",
        program: "flowlog_sendmsg6",
        attach: Attach::Cgroup,
        kernel: "5.8",
        gives: "to whom unconnected sockets send over IPv6",
        without: "unconnected UDP is seen only where it is dropped",
        needed: false,
    },
    Hook {
        name: "packets_in",
        program: "flowlog_packets_in",
        attach: Attach::Packets { coming: true },
        kernel: "5.8",
        gives: "datagrams before a process takes them, answers by ICMP and SCTP",
        without: "UDP that a process takes without asking from whom is not seen, nor are answers by ICMP and SCTP",
        needed: false,
    },
    Hook {
        name: "packets_out",
        program: "flowlog_packets_out",
        attach: Attach::Packets { coming: false },
        kernel: "5.8",
        gives: "ICMP, SCTP, UDP of raw sockets, and connected UDP where `send` is missing",
        without: "ICMP, SCTP and UDP of raw sockets are not seen",
        needed: false,
    },
    Hook {
        name: "connect4",
        program: "flowlog_connect4",
        attach: Attach::Cgroup,
        kernel: "5.8",
        gives: "who tried what over IPv4",
        without: "no attempts",
        needed: true,
    },
    Hook {
        name: "connect6",
        program: "flowlog_connect6",
        attach: Attach::Cgroup,
        kernel: "5.8",
        gives: "who tried what over IPv6",
        without: "no attempts over IPv6, nor of dual-stack sockets",
        needed: true,
    },
    Hook {
        name: "existing",
        program: "flowlog_existing",
        attach: Attach::Iterator { name: "task_file", needs: "bpf_get_socket_ptr_cookie" },
        // The iterator came with 5.8, the file's socket with 5.11, its cookie with 5.12.
        kernel: "5.12",
        gives: "connections that were open before flowlog was started",
        without: "connections that are older than flowlog are not told, nor their end",
        needed: false,
    },
];

/// Hooks that are attached together or not at all: each alone would take answers for attempts.
pub const DATAGRAM_HOOKS: [&str; 4] = ["recvmsg4", "recvmsg6", "sendmsg4", "sendmsg6"];

/// Hooks that see packets; they do not without those above, which tell questions from answers.
pub const PACKET_HOOKS: [&str; 2] = ["packets_in", "packets_out"];

/// Reasons (`enum skb_drop_reason`, without the prefix) that tell of a filter: netfilter, TC, XDP and cgroup
/// programs, socket filters, IPsec policies, security modules, reverse-path filtering. Those of routes and
/// neighbours reach the opener as errors; those of full queues, bad checksums and closed sockets tell nothing of
/// a filter; OTHERHOST is every packet that a bridge floods. None of these may look like a denial.
pub const DROP_REASONS: [&str; 9] = [
    "NETFILTER_DROP",
    "TC_INGRESS",
    "TC_EGRESS",
    "XDP",
    "BPF_CGROUP_EGRESS",
    "SOCKET_FILTER",
    "XFRM_POLICY",
    "SECURITY_HOOK",
    "IP_RPFILTER",
];

/// The reason that the far end's own stack gives when nobody listens.
pub const NO_SOCKET_REASON: &str = "NO_SOCKET";

/// Prefix of the reasons in the kernel's enum.
pub const REASON_PREFIX: &str = "SKB_DROP_REASON_";
