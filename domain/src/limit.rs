//! The bounds of every queue, list, message and wait, with their relations asserted.

use crate::unit::{Bytes, Millis};

/// Largest encoded proposal. Larger requests are refused at the API.
/// Source: raft-rs holds a whole entry in one message.
pub const PROPOSAL_MAX: Bytes = Bytes(512 << 10);
/// Largest batch of entries in one Raft message.
pub const RAFT_MESSAGE_MAX: Bytes = Bytes(1 << 20);
/// Largest message on any link between our processes.
pub const WIRE_MESSAGE_MAX: Bytes = Bytes(4 << 20);
/// Largest piece of a blob in one message.
pub const BLOB_CHUNK: Bytes = Bytes(1 << 20);
/// Connections to one server at the same time; fewer where the system grants fewer files.
/// Source: an agent holds two, and a server that is alone for a moment has all of them.
pub const CONNECTIONS_MAX: usize = 49_152;
/// Longest time in which a connection must say its first byte, and then end its TLS handshake.
pub const GREETING: Millis = Millis(5_000);
/// Free bytes on a server's disk below which it takes no new jobs and gives the lead away, so that
/// known jobs can still end.
pub const DISK_LOW: Bytes = Bytes(256 << 20);
/// Free bytes that blobs and task logs leave to the replicated log.
pub const DISK_KEPT: Bytes = Bytes(96 << 20);
/// Free bytes below which a leader proposes nothing, so that what is under way can be written.
pub const DISK_FULL: Bytes = Bytes(32 << 20);
/// Uncommitted bytes in a leader's log before proposals are refused as busy.
pub const UNCOMMITTED_MAX: Bytes = Bytes(64 << 20);
/// Appends in flight to one follower.
pub const INFLIGHT_APPENDS: usize = 256;
/// Proposals that wait for the replica loop before the API answers "busy".
pub const PROPOSE_QUEUE: usize = 16_384;
/// Largest encoded job specification.
pub const SPEC_MAX: Bytes = Bytes(64 << 10);
/// Jobs in one submit request.
pub const SUBMIT_BATCH_MAX: usize = 1_000;
/// Parts of submits that are larger than one entry, kept until their last part comes.
pub const PARTS_MAX: Bytes = Bytes(64 << 20);
/// Time for which such a part is kept.
/// Source: six times [`CALL_TIMEOUT`], within which all parts of one call come.
pub const PART_KEPT: Millis = Millis(60_000);
/// Jobs that one job may wait for.
pub const AFTER_MAX: usize = 64;
/// Longest pause after a failure.
pub const BACKOFF_MAX: Millis = Millis(3_600_000);
/// Elements of one array.
pub const ARRAY_MAX: u32 = 1_000_000;
/// Tasks of one gang.
pub const GANG_MAX: u32 = 4_096;
/// GPUs of one gang, over all of its tasks: a gang is granted whole, by one proposal.
pub const GANG_GPUS_MAX: u64 = 65_536;
/// Jobs that are not finished, over all queues.
pub const JOBS_MAX: usize = 2_000_000;
/// Queues of one cluster.
pub const QUEUES_MAX: usize = 1_000;
/// Days for which GPU time is told day by day; what is older is summed up by queue and user.
/// Source: a year's figures can still be looked at in the month after it.
pub const USAGE_DAYS_KEPT: u64 = 400;
/// Owners of GPU time, each a user in a queue, that are told apart in one day.
pub const USAGE_OWNERS_MAX: u32 = 10_000;
/// Rows of old days that one entry sums up.
pub const USAGE_FOLDED_AT_ONCE: usize = 64;
/// Rows that are read for one document of GPU time.
pub const USAGE_ROWS_MAX: usize = 200_000;
/// Levels of the tree of queues.
pub const QUEUE_DEPTH_MAX: usize = 8;
/// Bytes of a queue's name.
pub const QUEUE_NAME_MAX: usize = 64;
/// Classes of priority.
pub const PRIORITY_CLASSES_MAX: usize = 64;
/// Bytes of the name of one.
pub const PRIORITY_CLASS_NAME_MAX: usize = 64;
/// A queue's weight.
pub const QUEUE_WEIGHT_MAX: u32 = 1_000_000;
/// Bytes of the reason that is recorded with a change of the configuration.
pub const WHY_MAX: usize = 1_000;
/// Longest half life of what was used.
pub const HALF_LIFE_MAX: Millis = Millis(3_650 * 24 * 3_600_000);
/// Nodes of one cluster.
pub const NODES_MAX: usize = 20_000;
/// Bytes of the name of a rack or a block.
pub const ZONE_NAME_MAX: usize = 64;
/// Attempts that may end by nodes' faults before an element is given up.
pub const NODE_FAULTS_MAX: u32 = 100;
/// Bytes of the name of a class of hardware that a job asks for.
pub const CLASS_NAME_MAX: usize = 300;
/// Encoded bytes of what the jobs of one request say beside the first form of a specification.
pub const FURTHER_MAX: Bytes = Bytes(64 << 10);
/// GPUs of one node.
pub const NODE_GPUS_MAX: usize = 64;
/// Bytes of what a node tells of its disks, its network and its GPUs.
pub const HARDWARE_MAX: usize = 128 << 10;
/// Bytes of each text in what a node tells of a GPU that is held back.
pub const HELD_TEXT_MAX: usize = 256;
/// Stored replies, beyond which the oldest are forgotten.
pub const REPLIES_MAX: u64 = 1_000_000;
/// Stored replies that are kept however old they seem. The log's clock is a leader's wall clock,
/// which may be set wrong by days: age alone must not make a request that is under way new.
/// Source: ADR-0005.
pub const REPLIES_MIN: u64 = 65_536;
/// Time for which a stored reply is kept, at least, while fewer than [`REPLIES_MAX`].
pub const REPLY_KEPT: Millis = Millis(24 * 3_600_000);
/// Public keys that one cluster remembers: model keys, and event keys of every day.
/// Source: three servers with a key a day fill it in fifteen years.
pub const KEYS_MAX: u64 = 16_384;
/// Longest time for which a model key delegates to an event key that a server made by itself.
pub const DELEGATION_MAX: Millis = Millis(26 * 3_600_000);
/// Longest time for which an old model key counts beside its successor.
pub const KEY_OVERLAP_MAX: Millis = Millis(90 * 24 * 3_600_000);
/// Digests of committed checkpoints kept for one element. One more, and every second is dropped.
pub const CHECKPOINT_DIGESTS_KEPT: usize = 512;
/// Bytes of the name of a model family, a metric, an alias or an approver.
pub const FAMILY_NAME_MAX: usize = 64;
/// Bytes of the name of a document that is signed off.
pub const DOCUMENT_NAME_MAX: usize = 255;
/// Versions of one model family.
pub const MODEL_VERSIONS_MAX: u64 = 1_000_000;
/// Metrics of one version, and evaluation gates of one stage.
pub const METRICS_MAX: usize = 64;
/// Bytes of the file with an evaluation's metrics: 64 of them fill 6 KiB. Source: ADR-0060.
pub const METRICS_FILE_MAX: Bytes = Bytes(16 << 10);
/// Bytes of the list of an evaluation's files, which goes through the log. Source: ADR-0060.
pub const EVALUATION_TREE_MAX: Bytes = Bytes(128 << 10);
/// Evaluations of one version.
pub const EVALUATIONS_MAX: usize = 256;
/// Parents of one version.
pub const PARENTS_MAX: usize = 64;
/// Names for versions of one family.
pub const ALIASES_MAX: usize = 64;
/// Steps from a version within which its lineage is shown.
pub const LINEAGE_DEPTH_MAX: u32 = 50;
/// Things in one lineage.
pub const LINEAGE_NODES_MAX: usize = 10_000;
/// Steps from an artifact to the artifact that it was made of, and things in all, within which a
/// promotion looks for data that is blocked. The log's outcome depends on both: to change one takes
/// a new version of the cluster.
pub const CAME_OF_DEPTH_MAX: u32 = 50;
/// As [`CAME_OF_DEPTH_MAX`]. Each replica looks at each step of a promotion: about 3 ms for all.
pub const CAME_OF_MAX: usize = 1_000;
/// Bytes of a reason, a rationale, or any other text of a person or an engine.
pub const REASON_MAX: usize = 1_024;
/// Files with personal data that a data set's record names; all findings are counted.
pub const PII_FILES_MAX: usize = 100;
/// Versions of one data set.
pub const DATASET_VERSIONS_MAX: u64 = 1_000_000;
/// Slices of a data set, paths of one slice, and steps of its making.
pub const SLICES_MAX: usize = 64;
/// Licences of which an admin has said whether they allow training.
pub const LICENCES_MAX: usize = 1_000;
/// Promotions that wait for something.
pub const PROMOTIONS_OPEN_MAX: usize = 10_000;
/// Approvers at most.
pub const APPROVERS_MAX: u32 = 32;
/// Time within which a promotion has to be cleared, unless its request says less.
/// Source: platform contract, 4.1.
pub const PROMOTION_KEPT: Millis = Millis(14 * 24 * 3_600_000);
/// Time within which a quorum has to ratify an emergency promotion.
/// Source: platform contract, 4.1.
pub const RATIFY_WITHIN: Millis = Millis(48 * 3_600_000);
/// Starts that are foretold with one entry, and at one time.
pub const FORETOLD_BATCH: usize = 64;
/// The same, of those of which it is not known yet how they came.
pub const FORETOLD_MAX: usize = 1_024;
/// Days over which it is told how often they held, today among them.
pub const FORETOLD_DAYS: u64 = 7;
/// Jobs on which one request of the gate duty decides.
pub const GATE_BATCH: usize = 64;
/// Tries after which a job on which the policy engine does not decide is denied.
pub const GATE_TRIES: u32 = 5;
/// Longest time for one decision at a gate, over all tries.
pub const GATE_PATIENCE: Millis = Millis(15_000);
/// Checks that are open at once. While there are so many, no further segment is chosen.
pub const CHECKS_OPEN_MAX: usize = 256;
/// Time after which a check that found no idle GPUs, or no end, is given up.
pub const CHECK_KEPT: Millis = Millis(24 * 3_600_000);
/// Runs of one check that may end without a digest by the fault of the work itself.
pub const CHECK_FAILURES_MAX: u32 = 3;
/// Runs of one check in all, with those that made room.
pub const CHECK_RUNS_MAX: u32 = 100;
/// Digests of classes that are remembered.
pub const CHECK_REFERENCES_MAX: usize = 1_000;
/// Time limit of the burn-in that agents bring along.
pub const BURN_IN_MAX: Millis = Millis(10 * 60_000);
/// Dumps of hung ranks that are kept of one element.
pub const DUMPS_MAX: usize = 64;
/// Bytes of one such dump.
pub const DUMP_MAX: Bytes = Bytes(4 << 20);
/// Rows of a list in one answer.
pub const PAGE_MAX: usize = 1_000;
/// Time after which the files of collected results are deleted from a server's disk, where its
/// configuration does not say. Longer than any upload, and than a backup.
pub const COLLECT_AFTER: Millis = Millis(24 * 3_600_000);
/// Artifacts whose files one request lets go.
pub const COLLECT_MAX: usize = 256;
/// Versions that are looked at for all artifacts of one such request, while it is applied.
pub const COLLECT_LOOKS_MAX: usize = 4 * LINEAGE_NODES_MAX;
/// Files of one captured tree.
pub const TREE_FILES_MAX: usize = 1_000_000;
/// Bytes of one log line; longer ones are cut into several.
pub const LOG_LINE_MAX: usize = 16 << 10;

/// Time between two heartbeats of an agent.
pub const HEARTBEAT: Millis = Millis(500);
/// Raft's tick.
pub const TICK: Millis = Millis(50);
/// Ticks between a leader's heartbeats.
pub const RAFT_HEARTBEAT_TICKS: usize = 2;
/// Least ticks without a leader before an election; the most is twice that.
pub const ELECTION_TICKS: usize = 8;
/// The longest election time.
pub const ELECTION_MAX: Millis = Millis(2 * ELECTION_TICKS as u64 * TICK.0);
/// Longest time an agent may run an attempt without hearing from a leader.
/// Source: six lost heartbeats with an election among them.
pub const LEASE_TTL: Millis = Millis(6_000);
/// Time before [`LEASE_TTL`] at which the agent asks its tasks for a checkpoint.
pub const LEASE_GRACE: Millis = Millis(2_000);
/// How far two monotonic clocks may part within a lease.
pub const DRIFT_MARGIN: Millis = Millis(500);
/// Time for which an attempt runs before it may be preempted, where its job does not say.
pub const MIN_RUN: Millis = Millis(60_000);
/// The longest such time: what must not be stopped for longer says `preemptible = false`.
pub const MIN_RUN_MAX: Millis = Millis(7 * 24 * 3_600_000);
/// Longest time before its time limit at which a job is warned that does not say when.
pub const WARN_MAX: Millis = Millis(300_000);
/// Time within which an attempt that has notice has to write, hash or send a byte of its
/// checkpoint; each byte begins it anew.
pub const NOTICE_PATIENCE: Millis = Millis(30_000);
/// Time after which an attempt that has notice is stopped, however far it is.
pub const NOTICE_MAX: Millis = Millis(600_000);
/// Time for which room is kept for a gang whose victims have not all given theirs up.
pub const PREEMPTION_MAX: Millis = Millis(NOTICE_MAX.0 + 120_000);
/// Preemptions that are under way at the same time.
pub const PREEMPTIONS_MAX: usize = 16;
/// Attempts that one preemption stops. Source: one plan is never cut, and a victim takes 24 bytes.
pub const VICTIMS_MAX: usize = 512;
/// Time from SIGTERM to SIGKILL.
pub const KILL_GRACE: Millis = Millis(1_000);
/// The same where another part of the attempt has failed: what goes on can make nothing of use, and
/// a gang is to be dead everywhere within a second.
pub const GANG_GRACE: Millis = Millis(500);
/// Log entries between two exchanges of state digests.
pub const DIGEST_EVERY: u64 = 1_024;
/// Log entries kept after a compaction, for followers that lag.
pub const LOG_KEPT: u64 = 10_000;
/// Entries of the past from which a server can go through its log again, at least, if its
/// configuration says nothing else. Source: ADR-0064.
pub const REPLAY_WINDOW: u64 = 50_000;
/// Bytes of log after which that past is cut shorter.
pub const REPLAY_WINDOW_BYTES: Bytes = Bytes(256 << 20);
/// Decisions that one question has made again at most. Unit: 128 bytes each while it lasts.
pub const REPLAY_DECISIONS_MAX: usize = 1_000_000;
/// Bytes of log kept in memory at most before a compaction.
pub const LOG_KEPT_BYTES: Bytes = Bytes(64 << 20);
/// Time between two scrubs of a server's rows, where its configuration says nothing else.
pub const SCRUB_EVERY: Millis = Millis(3_600_000);
/// Least and longest time between two scrubs.
pub const SCRUB_EVERY_BOUNDS: (Millis, Millis) = (Millis(1_000), Millis(30 * 86_400_000));
/// Longest wait for the first scrub after a start, which has just read all rows.
pub const SCRUB_FIRST: Millis = Millis(60_000);
/// Bytes of rows that a scrub reads in a second: a fiftieth of what a disk gives, and a hundredth
/// of what a core hashes.
pub const SCRUB_RATE: Bytes = Bytes(16 << 20);
/// Longest wait of a client's call for an answer.
pub const CALL_TIMEOUT: Millis = Millis(10_000);
/// Servers that must hold a blob before it counts as stored.
pub const BLOB_COPIES: usize = 2;
/// Results whose copies a leader looks at together.
pub const COPY_CHECK_PAGE: usize = 8;
/// Pause between two such looks: 8 results a second are little beside a submit's work, and a
/// million are looked at in a day and a half.
pub const COPY_CHECK_PAUSE: Millis = Millis(1_000);
/// Least time between two rounds over all results.
pub const COPY_CHECK_ROUND: Millis = Millis(60_000);
/// Least, usual and longest length of a chunk of a checkpoint. The least is near the usual, since
/// bytes before it are not looked at for a cut. Source: ADR-0027.
pub const CHUNK_MIN: Bytes = Bytes(384 << 10);
/// See [`CHUNK_MIN`].
pub const CHUNK_USUAL: Bytes = Bytes(512 << 10);
/// See [`CHUNK_MIN`].
pub const CHUNK_MAX: Bytes = Bytes(2 << 20);
/// Bytes of chunks that are stored with one fsync at most, and that one upload holds in memory.
pub const CHUNK_BATCH: Bytes = Bytes(16 << 20);
/// Bytes of all uploads' chunks that a server holds in memory; more wait on the wire.
pub const CHUNKS_IN_FLIGHT: Bytes = Bytes(128 << 20);
/// Names of chunks in one question.
pub const CHUNK_NAMES_MAX: usize = 4_096;
/// Longest list of a checkpoint's chunks: one of about a TiB.
pub const CHUNK_LIST_MAX: Bytes = Bytes(64 << 20);
/// Checkpoints of one element whose bytes are kept, unless its job says otherwise.
pub const CHECKPOINTS_KEPT: u32 = 3;
/// The most that a job may say.
pub const CHECKPOINTS_KEPT_MAX: u32 = 512;
/// Time for which a checkpoint's bytes are kept, unless its job says otherwise.
pub const CHECKPOINT_AGE: Millis = Millis(7 * 24 * 3_600_000);
/// Checkpoints whose time is over that one entry looks at.
pub const CHECKPOINTS_DUE: usize = 256;
/// Monitors of drift.
pub const MONITORS_MAX: usize = 1_000;
/// Features of one monitor: of inputs, outputs and quality together.
pub const FEATURES_MAX: usize = 256;
/// Buckets of all sketches of one set of windows. A bucket takes 16 bytes.
pub const SKETCH_BUCKETS_MAX: usize = 16_384;
/// Bytes of a monitor's reference in the log.
pub const REFERENCE_MAX: Bytes = Bytes(384 << 10);
/// Observations of one monitor that are kept in full; older ones are counted.
pub const OBSERVATIONS_KEPT: u64 = 32;
/// Triggers of one monitor that are known when they are sent again.
pub const TRIGGERS_KEPT: u64 = 10_000;
/// Bytes of a trigger's key.
pub const TRIGGER_MAX: usize = 128;
/// Retrains that a policy may start within its period.
pub const RETRAINS_MAX: u32 = 64;
/// Slices of data that one episode names.
pub const EPISODE_SLICES_MAX: usize = 256;
/// Longest cool-down between two retrains, and longest period of their budget.
pub const RETRAIN_PERIOD_MAX: Millis = Millis(3_650 * 24 * 3_600_000);
/// Largest body of a REST call. Source: platform contract, 5.7; what is larger travels by digest.
pub const REST_BODY_MAX: Bytes = Bytes(1 << 20);
/// Connections to the REST port of one server at the same time.
pub const REST_CONNECTIONS_MAX: usize = 1_024;
/// REST calls under way at one server.
pub const REST_CALLS_MAX: usize = 256;
/// Longest time of a REST call, with the reading of its body.
pub const REST_CALL: Millis = Millis(25_000);
/// Longest wait for the next call on a REST connection.
pub const REST_IDLE: Millis = Millis(60_000);
/// Longest wait of a REST call for the gates of the promotion that it asked for.
pub const REST_GATES: Millis = Millis(2_000);
/// Audit events that one look at the measurements goes through.
pub const MEASURED_EVENTS_MAX: u64 = 50_000;
/// Windows that are not over.
pub const WINDOWS_MAX: usize = 256;
/// Nodes of one window.
pub const WINDOW_NODES_MAX: usize = 4_096;
/// Users and queues that are members of one window.
pub const WINDOW_MEMBERS_MAX: usize = 256;
/// Longest window.
pub const WINDOW_MAX: Millis = Millis(366 * 86_400_000);

const _: () = assert!(PROPOSAL_MAX.0 < RAFT_MESSAGE_MAX.0);
const _: () = assert!(RAFT_MESSAGE_MAX.0 + PROPOSAL_MAX.0 < WIRE_MESSAGE_MAX.0);
const _: () = assert!(BLOB_CHUNK.0 < WIRE_MESSAGE_MAX.0);
const _: () = assert!(CHUNK_MIN.0 < CHUNK_USUAL.0 && CHUNK_USUAL.0 < CHUNK_MAX.0);
const _: () = assert!(CHUNK_MAX.0 < WIRE_MESSAGE_MAX.0, "a chunk travels in one message");
const _: () = assert!(32 * CHUNK_NAMES_MAX as u64 * 2 < WIRE_MESSAGE_MAX.0);
const _: () = assert!(2 * CHUNK_BATCH.0 < CHUNKS_IN_FLIGHT.0);
const _: () = assert!(CHECKPOINTS_KEPT <= CHECKPOINTS_KEPT_MAX);
const _: () = assert!(CHECKPOINT_DIGESTS_KEPT.is_multiple_of(2), "so that the newest one stays");
const _: () = assert!(SPEC_MAX.0 < PROPOSAL_MAX.0);
const _: () = assert!(2 * WIRE_MESSAGE_MAX.0 < PARTS_MAX.0, "one large submit always fits");
const _: () = assert!(PART_KEPT.0 > 2 * CALL_TIMEOUT.0);
const _: () = assert!(REPLIES_MIN < REPLIES_MAX);
const _: () = assert!(LEASE_TTL.0 >= 3 * HEARTBEAT.0 + ELECTION_MAX.0);
const _: () = assert!(DISK_LOW.0 > DISK_KEPT.0 && DISK_KEPT.0 > DISK_FULL.0);
const _: () = assert!(DISK_FULL.0 > 8 * RAFT_MESSAGE_MAX.0);
const _: () = assert!(CONNECTIONS_MAX > 2 * NODES_MAX);
const _: () = assert!(LEASE_GRACE.0 < LEASE_TTL.0);
const _: () = assert!(REST_CALL.0 > 2 * CALL_TIMEOUT.0 + REST_GATES.0);
const _: () = assert!(REST_BODY_MAX.0 < WIRE_MESSAGE_MAX.0);
const _: () = assert!(GANG_GRACE.0 <= KILL_GRACE.0 / 2, "half of the second is for the way there");
const _: () = assert!(NOTICE_PATIENCE.0 + LEASE_TTL.0 < NOTICE_MAX.0);
const _: () = assert!(NOTICE_MAX.0 + 2 * LEASE_TTL.0 < PREEMPTION_MAX.0);
const _: () = assert!(REFERENCE_MAX.0 < PROPOSAL_MAX.0);
const _: () = assert!(16 * SKETCH_BUCKETS_MAX as u64 <= REFERENCE_MAX.0);
const _: () = assert!(METRICS_FILE_MAX.0 + EVALUATION_TREE_MAX.0 < PROPOSAL_MAX.0 / 2);
const _: () = assert!(SCRUB_FIRST.0 >= SCRUB_EVERY_BOUNDS.0.0 && SCRUB_FIRST.0 <= SCRUB_EVERY.0);
