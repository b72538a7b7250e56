//! The hyperparameters, as command-line flags.

/// What the job may be told.
pub struct Flags {
    /// Passes over the training part.
    pub epochs: u64,
    /// Width of the hidden layer.
    pub hidden: usize,
    /// Learning rate.
    pub rate: f32,
    /// Rows of one step.
    pub batch: usize,
    /// Steps between two checkpoints.
    pub checkpoint_every: u64,
    /// Steps between two lines of metrics.
    pub log_every: u64,
    /// Pause after each step, so that a viewer can follow. Unit: ms.
    pub step_delay_ms: u64,
}

impl Flags {
    /// Reads `--name value` pairs.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut flags = Self {
            epochs: 20,
            hidden: 32,
            rate: 0.1,
            batch: 32,
            checkpoint_every: 100,
            log_every: 10,
            step_delay_ms: 0,
        };
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
            let whole = || {
                value.parse::<u64>().map_err(|_| format!("{name}: `{value}` is not a whole number"))
            };
            let positive = || match whole()? {
                0 => Err(format!("{name}: must be at least 1")),
                number => Ok(number),
            };
            match name.as_str() {
                "--epochs" => flags.epochs = positive()?,
                "--hidden" => flags.hidden = positive()?.min(4_096) as usize,
                "--batch" => flags.batch = positive()?.min(1_000) as usize,
                "--checkpoint-every" => flags.checkpoint_every = positive()?,
                "--log-every" => flags.log_every = positive()?,
                "--step-delay-ms" => flags.step_delay_ms = whole()?,
                "--lr" => {
                    flags.rate = value
                        .parse()
                        .ok()
                        .filter(|rate: &f32| *rate > 0.0 && rate.is_finite())
                        .ok_or_else(|| format!("--lr: `{value}` is not a positive number"))?;
                }
                _ => {
                    return Err(format!(
                        "unknown flag `{name}`; known are --epochs --hidden --lr --batch \
                         --checkpoint-every --log-every --step-delay-ms"
                    ));
                }
            }
        }
        Ok(flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_that_is_unknown_or_out_of_range_is_refused_by_name() {
        let parse = |text: &str| Flags::parse(text.split(' ').map(str::to_owned)).err();
        assert!(parse("--epoch 3").unwrap().contains("unknown flag `--epoch`"));
        assert!(parse("--batch 0").unwrap().contains("--batch"));
        assert!(parse("--lr nan").unwrap().contains("--lr"));
        assert!(parse("--epochs 3 --lr 0.5").is_none());
    }
}
