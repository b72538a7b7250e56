//! Figures over all seeds of one policy.

use super::engine::Point;

/// What came out at the end of each run, over the seeds.
#[derive(Clone, Debug, serde::Serialize)]
#[expect(missing_docs, reason = "each is named for what it is, with its unit")]
pub struct Shares {
    pub seeds: usize,
    pub asked_gpu_pct: f64,
    pub unallocated_gpu_pct: f64,
    pub unallocated_gpu_pct_sd: f64,
    pub utilisation_pct: f64,
    pub fragmentation_pct: f64,
    pub pods_failed_avg: f64,
}

impl Shares {
    /// Of the last point of each run.
    #[must_use]
    pub fn of(runs: &[Vec<Point>]) -> Self {
        let all = |value: fn(&Point) -> f64| {
            let values: Vec<f64> = runs.iter().filter_map(|run| run.last().map(value)).collect();
            mean_sd(&values)
        };
        let (unallocated, sd) = all(|point| point.unallocated_pct);
        Self {
            seeds: runs.len(),
            asked_gpu_pct: all(|point| point.asked_pct).0,
            unallocated_gpu_pct: unallocated,
            unallocated_gpu_pct_sd: sd,
            utilisation_pct: 100.0 - unallocated,
            fragmentation_pct: all(|point| point.fragmented_pct).0,
            pods_failed_avg: all(|point| point.failed as f64).0,
        }
    }
}

/// The mean and the deviation of a sample.
#[must_use]
pub fn mean_sd(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, if count > 1.0 { (squares / (count - 1.0)).sqrt() } else { 0.0 })
}
