//! The network (64 → hidden → 10) and one step of stochastic gradient descent with momentum.

use crate::{
    data::Row,
    math::{Random, exp, ln},
};

const IN: usize = 64;
const OUT: usize = 10;
const MOMENTUM: f32 = 0.9;

/// All that decides the next step.
pub struct State {
    /// Steps made.
    pub step: u64,
    /// The generator.
    pub random: Random,
    /// Width of the hidden layer.
    pub hidden: usize,
    /// Weights and biases, layer by layer: w1, b1, w2, b2.
    pub weights: Vec<f32>,
    /// Their momentum.
    pub velocity: Vec<f32>,
    /// This epoch's order of the training rows.
    pub order: Vec<u32>,
}

impl State {
    /// Number of weights for a width.
    pub fn size(hidden: usize) -> usize {
        IN * hidden + hidden + hidden * OUT + OUT
    }

    /// Random small weights.
    pub fn new(seed: u64, hidden: usize) -> Self {
        let mut random = Random(seed);
        let mut weights = vec![0.0; Self::size(hidden)];
        let scale = (1.0 / IN as f32).sqrt();
        for weight in &mut weights[..IN * hidden] {
            *weight = random.signed() * scale;
        }
        let second = IN * hidden + hidden;
        let scale = (1.0 / hidden as f32).sqrt();
        for weight in &mut weights[second..second + hidden * OUT] {
            *weight = random.signed() * scale;
        }
        let velocity = vec![0.0; weights.len()];
        Self { step: 0, random, hidden, weights, velocity, order: Vec::new() }
    }

    /// Draws the order of an epoch (Fisher-Yates).
    pub fn shuffle(&mut self, rows: usize) {
        self.order = (0..rows as u32).collect();
        for last in (1..rows).rev() {
            let other = self.random.below(last as u64 + 1) as usize;
            self.order.swap(last, other);
        }
    }

    fn forward(&self, pixels: &[f32; IN]) -> (Vec<f32>, [f32; OUT]) {
        let (w1, rest) = self.weights.split_at(IN * self.hidden);
        let (b1, rest) = rest.split_at(self.hidden);
        let (w2, b2) = rest.split_at(self.hidden * OUT);
        let hidden: Vec<f32> = (0..self.hidden)
            .map(|unit| {
                let mut sum = b1[unit];
                for (pixel, weight) in pixels.iter().zip(&w1[unit * IN..]) {
                    sum += pixel * weight;
                }
                sum.max(0.0)
            })
            .collect();
        let mut scores = [0.0; OUT];
        for (class, score) in scores.iter_mut().enumerate() {
            let mut sum = b2[class];
            for (value, weight) in hidden.iter().zip(&w2[class * self.hidden..]) {
                sum += value * weight;
            }
            *score = sum;
        }
        (hidden, scores)
    }

    /// The most likely digit.
    pub fn predict(&self, pixels: &[f32; IN]) -> usize {
        let (_, scores) = self.forward(pixels);
        let mut best = 0;
        for class in 1..OUT {
            if scores[class] > scores[best] {
                best = class;
            }
        }
        best
    }

    /// One step on a batch. Returns its mean loss before the step.
    pub fn learn(&mut self, batch: &[&Row], rate: f32) -> f32 {
        let mut gradient = vec![0.0; self.weights.len()];
        let mut loss = 0.0;
        for row in batch {
            loss += self.backward(row, &mut gradient);
        }
        let share = 1.0 / batch.len() as f32;
        let all = self.weights.iter_mut().zip(&mut self.velocity).zip(&gradient);
        for ((weight, velocity), slope) in all {
            *velocity = *velocity * MOMENTUM - slope * share * rate;
            *weight += *velocity;
        }
        loss * share
    }

    fn backward(&self, row: &Row, gradient: &mut [f32]) -> f32 {
        let (hidden, scores) = self.forward(&row.pixels);
        let top = scores.iter().fold(f32::MIN, |top, score| top.max(*score));
        let powers = scores.map(|score| exp(score - top));
        let mut total = 0.0;
        for power in powers {
            total += power;
        }
        let w2 = IN * self.hidden + self.hidden;
        let b2 = w2 + self.hidden * OUT;
        let mut back = vec![0.0; self.hidden];
        for class in 0..OUT {
            let target = if class == row.label { 1.0 } else { 0.0 };
            let slope = powers[class] / total - target;
            gradient[b2 + class] += slope;
            for unit in 0..self.hidden {
                let at = w2 + class * self.hidden + unit;
                gradient[at] += slope * hidden[unit];
                back[unit] += slope * self.weights[at];
            }
        }
        for unit in 0..self.hidden {
            if hidden[unit] <= 0.0 {
                continue;
            }
            gradient[IN * self.hidden + unit] += back[unit];
            for (pixel, slope) in row.pixels.iter().zip(&mut gradient[unit * IN..]) {
                *slope += back[unit] * pixel;
            }
        }
        -ln(powers[row.label] / total)
    }
}
