//! The system calls that no training program needs: refused whatever else would allow them.
//!
//! A list of what is refused, not of what is allowed: frameworks and drivers use hundreds of calls
//! and new ones each year, and this is the third wall, behind the user without rights and the
//! namespaces.

use super::SandboxError;
use libc::{
    AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET,
    CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS, SOCK_DCCP, SOCK_DGRAM, SOCK_RAW,
    SOCK_RDM, SOCK_SEQPACKET, c_long,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};
use std::collections::BTreeMap;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Refused with "operation not permitted", by reason.
const REFUSED: &[(&str, &[c_long])] = &[
    (
        "mounts and roots: the view of the file system is ours to build",
        &[
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            libc::SYS_move_mount,
            libc::SYS_open_tree,
            libc::SYS_fsopen,
            libc::SYS_fsconfig,
            libc::SYS_fsmount,
            libc::SYS_fspick,
            libc::SYS_mount_setattr,
        ],
    ),
    (
        "namespaces: a user namespace would give rights over the kernel's less tested parts",
        &[libc::SYS_unshare, libc::SYS_setns],
    ),
    (
        "other processes: their memory and descriptors",
        &[
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_process_madvise,
            libc::SYS_kcmp,
            libc::SYS_pidfd_getfd,
        ],
    ),
    (
        "the kernel itself: programs, modules, another kernel, its log, its counters",
        &[
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_kexec_load,
            libc::SYS_kexec_file_load,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_delete_module,
            libc::SYS_syslog,
            libc::SYS_userfaultfd,
        ],
    ),
    (
        "keys: the keyring is not part of any namespace",
        &[libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key],
    ),
    (
        "files by handle, past every folder above them; watches over whole file systems",
        &[libc::SYS_open_by_handle_at, libc::SYS_name_to_handle_at, libc::SYS_fanotify_init],
    ),
    (
        "the machine: clocks, names, swap, quotas, accounting, power",
        &[
            libc::SYS_settimeofday,
            libc::SYS_clock_settime,
            libc::SYS_clock_adjtime,
            libc::SYS_adjtimex,
            libc::SYS_sethostname,
            libc::SYS_setdomainname,
            libc::SYS_swapon,
            libc::SYS_swapoff,
            libc::SYS_quotactl,
            libc::SYS_acct,
            libc::SYS_reboot,
            libc::SYS_vhangup,
            libc::SYS_personality,
        ],
    ),
    #[cfg(target_arch = "x86_64")]
    (
        "ports and segments of the processor, and calls of old",
        &[
            libc::SYS_iopl,
            libc::SYS_ioperm,
            libc::SYS_modify_ldt,
            libc::SYS_uselib,
            libc::SYS_sysfs,
            libc::SYS_ustat,
            libc::SYS_nfsservctl,
        ],
    ),
];

/// Said not to exist, so that libraries take the way they took before it did: `clone3` hides its
/// flags from a filter, and io_uring does work that no filter sees.
const UNKNOWN: &[c_long] = &[
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// Flags of `clone` that make namespaces.
const NAMESPACES: [i32; 7] = [
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
];

/// Kinds of socket that training uses. Others reach what no network namespace holds (AF_VSOCK:
/// the machine below) or rarely tested parts of the kernel (AF_ALG, AF_PACKET).
const SOCKETS: [i32; 4] = [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK];

/// Puts characters into another's terminal; and a console's way to do the same.
const TERMINAL_INPUT: [u64; 2] = [0x5412, 0x541C];

/// The bit that marks a call of the x32 interface.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

/// Other programs: an agent that has given its rights up runs none.
const PROGRAMS: [c_long; 2] = [libc::SYS_execve, libc::SYS_execveat];

/// The filters of tasks, in the order in which they are to be applied.
pub fn programs() -> Result<Vec<BpfProgram>, SandboxError> {
    refusing(&[], &SOCKETS)
}

/// The filters of agents: what no task may call, no other program, and no service of this machine:
/// the right to look into every folder would lead to sockets that stand in folders for that reason.
pub fn of_agents() -> Result<Vec<BpfProgram>, SandboxError> {
    let sockets = SOCKETS.into_iter().filter(|kind| *kind != AF_UNIX).collect::<Vec<_>>();
    let mut all = refusing(&PROGRAMS, &sockets)?;
    // One half of a pair reaches a service by its path, unless it is a stream.
    let mut pairs = Vec::new();
    for kind in [SOCK_DGRAM, SOCK_RAW, SOCK_RDM, SOCK_SEQPACKET, SOCK_DCCP] {
        let kind = u64::from(kind.cast_unsigned());
        pairs.push(when(1, Op::MaskedEq(0xf), kind)?);
    }
    all.insert(0, program(Rules::from([(libc::SYS_socketpair, pairs)]), libc::EPERM)?);
    Ok(all)
}

fn refusing(more: &[c_long], sockets: &[i32]) -> Result<Vec<BpfProgram>, SandboxError> {
    let mut refused: Rules = REFUSED
        .iter()
        .flat_map(|(_, calls)| calls.iter())
        .chain(more)
        .map(|call| (*call, Vec::new()))
        .collect();
    let makes = |flag: i32| {
        let flag = u64::from(flag.cast_unsigned());
        when(0, Op::MaskedEq(flag), flag)
    };
    let clone = NAMESPACES.into_iter().map(makes).collect::<Result<Vec<_>, _>>()?;
    refused.insert(libc::SYS_clone, clone);
    let other = sockets
        .iter()
        .map(|kind| SeccompCondition::new(0, Len::Dword, Op::Ne, u64::from(kind.cast_unsigned())));
    let other = other.collect::<Result<Vec<_>, _>>().and_then(SeccompRule::new).map_err(failed)?;
    refused.insert(libc::SYS_socket, vec![other]);
    let typed = TERMINAL_INPUT.map(|request| when(1, Op::Eq, request));
    refused.insert(libc::SYS_ioctl, typed.into_iter().collect::<Result<_, _>>()?);
    let unknown: Rules = UNKNOWN.iter().map(|call| (*call, Vec::new())).collect();
    Ok(vec![program(unknown, libc::ENOSYS)?, without_x32(program(refused, libc::EPERM)?)])
}

fn failed(why: seccompiler::BackendError) -> SandboxError {
    SandboxError::new("make the filter of system calls", why.to_string())
}

/// A call whose argument is so.
fn when(argument: u8, op: Op, value: u64) -> Result<SeccompRule, SandboxError> {
    let condition = SeccompCondition::new(argument, Len::Dword, op, value);
    condition.and_then(|it| SeccompRule::new(vec![it])).map_err(failed)
}

/// A filter that has these calls fail with `code`.
fn program(rules: Rules, code: i32) -> Result<BpfProgram, SandboxError> {
    let action = SeccompAction::Errno(code.cast_unsigned());
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(failed)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch);
    filter.and_then(BpfProgram::try_from).map_err(failed)
}

/// The second interface of the same processor has numbers of its own for the same calls: none of
/// them is allowed. The crate compares the architecture alone, which both share.
#[cfg(target_arch = "x86_64")]
fn without_x32(program: BpfProgram) -> BpfProgram {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const ERRNO: u32 = 0x0005_0000; // SECCOMP_RET_ERRNO
    let number = sock_filter { code: LOAD, jt: 0, jf: 0, k: 0 };
    let refuse =
        sock_filter { code: RETURN, jt: 0, jf: 0, k: ERRNO | libc::ENOSYS.cast_unsigned() };
    let compare = sock_filter { code: AT_LEAST, jt: 0, jf: 1, k: X32 };
    [number, compare, refuse].into_iter().chain(program).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn without_x32(program: BpfProgram) -> BpfProgram {
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_listed_twice() {
        let mut all: Vec<_> = REFUSED.iter().flat_map(|(_, calls)| calls.iter()).collect();
        all.extend(UNKNOWN);
        all.extend([&libc::SYS_clone, &libc::SYS_socket, &libc::SYS_ioctl]);
        all.extend(&PROGRAMS);
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert_eq!(programs().unwrap().len(), 2);
        assert_eq!(of_agents().unwrap().len(), 3);
    }
}
