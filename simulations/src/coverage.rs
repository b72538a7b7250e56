//! How much of what happened: a fault or an act that never happens shows as a zero.

macro_rules! coverage {
    ($($(#[$doc:meta])* $field:ident = $words:literal,)*) => {
        /// Counts over one run, or over many.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Coverage {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl Coverage {
            /// Adds another run.
            pub fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
            }

            /// Each count with its words, in order.
            #[must_use]
            pub fn lines(&self) -> Vec<(u64, &'static str)> {
                vec![$((self.$field, $words),)*]
            }
        }
    };
}

coverage! {
    /// Events.
    events = "events",
    /// Server crashes.
    crashes = "server crashes",
    /// Servers paused.
    pauses = "pauses",
    /// Messages and calls that a paused server found when it went on.
    deferred = "found after a pause",
    /// Syncs that failed.
    sync_errors = "failed syncs",
    /// Disks that were full.
    full_disks = "full disks",
    /// Times a disk was nearly full.
    low_disks = "nearly full disks",
    /// Disks that answered nothing for a while.
    disk_hangs = "disks that hang",
    /// Wall clocks set forward or back.
    clock_jumps = "clock jumps",
    /// Wall clocks that stood still.
    clock_stops = "stopped clocks",
    /// Bits flipped in a stored log entry.
    log_flips = "bits of the log",
    /// Bits flipped in a stored row.
    row_flips = "bits of rows",
    /// Bits flipped in memory.
    memory_flips = "bits of memory",
    /// Starts that were refused because of damage.
    refused_starts = "starts refused",
    /// Replicas that stopped because digests differed.
    diverged = "diverged stopped",
    /// Changes of members that were answered.
    changes = "changes of members",
    /// Changes of the queues.
    configs = "changes of queues",
    /// Processes whose release was too old for what the cluster runs at.
    too_old = "releases too old",
    /// Servers added.
    added = "servers added",
    /// Servers removed.
    removed = "servers removed",
    /// Leaderships given away on request.
    transfers = "transfers",
    /// Links cut that never heal.
    for_ever = "cuts for ever",
    /// Bits flipped in stored blobs.
    blob_flips = "bits of blobs",
    /// Results that were copied again, or whose record was corrected.
    mended = "copies mended",
    /// Links cut.
    cuts = "cuts",
    /// Links cut in one direction.
    one_way = "one-way cuts",
    /// Messages that came twice.
    duplicates = "messages twice",
    /// Messages that overtook an earlier one on the same link.
    overtaken = "messages overtaken",
    /// Agents killed.
    agent_kills = "agents killed",
    /// Machines rebooted.
    reboots = "reboots",
    /// Snapshots sent.
    snapshots = "snapshots",
    /// Jobs acknowledged.
    jobs = "jobs acknowledged",
    /// Artifacts sealed.
    sealed = "results sealed",
    /// Writes whose answer was compared with the log.
    writes = "writes checked",
    /// Reads whose value was compared with the log.
    reads = "reads checked",
    /// Plans that another replica made again.
    replans = "plans made again",
    /// Nodes drained, distrusted, accepted and vouched for.
    drained = "acts on nodes",
    /// What people did at the registry.
    registry = "acts at the registry",
    /// Words of approvers that blocked data may be used.
    cleared = "words that clear data",
    /// Promotions that met blocked data, at the end of a run.
    data_met = "promotions stopped by data",
    /// Results whose files went.
    collected = "results collected",
    /// Files of collected results that a server deleted.
    deleted = "files deleted",
    /// Promotions that were applied, at the end of a run.
    promoted = "promotions applied",
    /// Waiting jobs that were asked for their reasons.
    reasons = "reasons asked",
    /// Preemptions that began.
    preemptions = "preemptions begun",
    /// Preemptions whose gang got its place.
    preempted = "preemptions used",
    /// Segments that were run again and came to a finding.
    replays = "segments run again",
    /// Windows of models that were recorded.
    windows = "windows of models",
    /// Retrains that a policy or a person started.
    retrains = "retrains started",
    /// Of these, those that were held for a time first.
    resumed = "retrains after a hold",
    /// Triggers that came twice.
    triggers = "triggers twice",
    /// Evaluations that were recorded.
    evaluations = "evaluations",
    /// Promotions that sealed evaluations suggested.
    suggested = "promotions suggested",
    /// GPUs that were named for wrong bits.
    named = "GPUs named",
    /// Gangs that required nearness, when they started.
    near = "gangs kept near",
    /// Times the store of the keys was out.
    key_outages = "outages of keys",
    /// Changes of the key that seals.
    key_rotations = "keys rotated",
    /// Keys whose word was taken back.
    key_revocations = "keys revoked",
    /// Results whose seal had to wait for a key.
    key_waits = "seals that waited for a key",
    /// Seals that came too late for their key.
    seals_refused = "seals refused for their key",
}

/// The counts as lines of a few each.
#[must_use]
pub fn table(coverage: &Coverage) -> String {
    let words: Vec<String> =
        coverage.lines().iter().map(|(count, words)| format!("{count} {words}")).collect();
    words.chunks(6).map(|line| format!("  {}\n", line.join(", "))).collect()
}
