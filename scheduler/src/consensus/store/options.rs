//! How RocksDB is set up, and why.

use super::{LOG, RAFT};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, LogLevel,
    Options,
};

/// The write-ahead log's size beyond which the oldest memtable is flushed, small ones too.
const WAL_MAX: u64 = 128 << 20;
/// A family's memtable. The log's entries are mostly compacted away before they fill one.
const MEMTABLE: usize = 32 << 20;
/// Blocks of rows kept in memory.
const BLOCK_CACHE: usize = 64 << 20;

/// Options of the database as a whole.
///
/// A torn record at the end of the write-ahead log is what a crash leaves of a write that was
/// never acknowledged, and is cut; damage anywhere else must stop the server. The mode that says
/// so rules out recycled log files: with them, old bytes after the end look like damage.
pub(super) fn database() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_max_total_wal_size(WAL_MAX);
    options.set_max_background_jobs(2);
    options.set_max_open_files(512);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_paranoid_checks(true);
    options
}

/// A family with its options.
pub(super) fn family(name: &str) -> ColumnFamilyDescriptor {
    ColumnFamilyDescriptor::new(name, family_options(name))
}

/// Options of a family. Bytes in the log and most rows are digests or already compressed, and
/// the latency of a flush matters more than its size.
pub(super) fn family_options(name: &str) -> Options {
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::None);
    options.set_max_write_buffer_number(4);
    match name {
        RAFT => options.set_write_buffer_size(1 << 20),
        LOG => options.set_write_buffer_size(MEMTABLE),
        _ => {
            options.set_write_buffer_size(MEMTABLE);
            let mut table = BlockBasedOptions::default();
            table.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE));
            table.set_bloom_filter(10.0, false);
            options.set_block_based_table_factory(&table);
            // Most keys that are looked up are new ones: a bloom filter says so at once.
            options.set_memtable_prefix_bloom_ratio(0.05);
            options.set_memtable_whole_key_filtering(true);
        }
    }
    options
}
