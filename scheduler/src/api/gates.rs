//! Asks at gates: the embedded rules, or a policy engine over HTTP.

use super::channels::Tls;
use domain::{limit, model::Stage};
use registry::gate::{BODY_MAX, Decision, GateRequest, Reply, RuleSet, StageRules, decide};
use std::{path::PathBuf, time::Duration};

/// Longest wait for one answer of the policy engine. Source: platform contract, 3.4.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Pauses before the second and the third try. Source: platform contract, 3.4.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(200)];
/// The engine's path for questions.
const PATH: &str = "/sentinelnet/check";
/// The role that the engine lets ask.
const ROLES: (&str, &str) = ("x-sentinel-roles", "kernel-service");

const _: () = assert!(TIMEOUT.as_millis() as u64 * 3 < limit::GATE_PATIENCE.0);

/// What decides at gates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GateConfig {
    /// The file with embedded policies and evaluation gates.
    pub rules: Option<PathBuf>,
    /// The policy engine's address: `https://host:port`.
    pub engine: Option<String>,
    /// Authorities that vouch for it, in PEM; by default the cluster's own.
    pub ca: Option<PathBuf>,
}

/// Gates that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// A file that cannot be read.
    #[error("cannot read {}: {source}; check `gate_rules`, `policy_ca`, `cert` and `key`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Rules that cannot be followed.
    #[error("gate rules {}: {why}", path.display())]
    Rules {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An engine that cannot be called.
    #[error("`policy_engine` = `{address}`: {why}; write https://host:port")]
    Engine {
        /// Its address.
        address: String,
        /// Why not.
        why: String,
    },
}

/// A policy engine.
struct Engine {
    address: String,
    client: reqwest::Client,
}

/// A decision, and whether it is anybody's: where nobody answers, the decision is no.
pub struct Verdict {
    /// The decision.
    pub decision: Decision,
    /// Whether somebody answered.
    pub answered: bool,
}

/// Whoever decides at gates.
pub struct Gatekeeper {
    rules: Option<RuleSet>,
    engine: Option<Engine>,
}

fn read(path: &PathBuf) -> Result<String, GateError> {
    let fault = |source| GateError::File { path: path.clone(), source };
    std::fs::read_to_string(path).map_err(fault)
}

impl Gatekeeper {
    /// Reads the rules and sets the engine's client up.
    ///
    /// # Errors
    /// When a file cannot be read, or a rule cannot be followed to the letter.
    pub fn open(config: &GateConfig, tls: &Tls) -> Result<Self, GateError> {
        let rules = config.rules.as_ref().map(|path| {
            let why = |fault: registry::gate::RuleSetFault| GateError::Rules {
                path: path.clone(),
                why: fault.to_string(),
            };
            RuleSet::parse(&read(path)?).map_err(why)
        });
        let engine = config.engine.as_ref().map(|address| engine(address, config, tls));
        let (rules, engine) = (rules.transpose()?, engine.transpose()?);
        if engine.is_none()
            && let (Some(set), Some(path)) = (&rules, &config.rules)
            && let Some(stage) = set.wants_evidence()
        {
            let why = format!(
                "promotion.{stage}: `evidence` is what a policy engine gives; set `policy_engine`, \
                 or take it out: the cluster records its own decisions"
            );
            return Err(GateError::Rules { path: path.clone(), why });
        }
        Ok(Self { rules, engine })
    }

    /// Whether anything is configured that decides on policies.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.engine.is_some() || self.rules.is_some()
    }

    /// What a stage asks of a version.
    #[must_use]
    pub fn stage(&self, stage: Stage) -> StageRules {
        self.rules.as_ref().map_or_else(|| StageRules::unsaid(stage), |rules| rules.stage(stage))
    }

    /// Who decides, for the record.
    #[must_use]
    pub fn name(&self) -> &str {
        match (&self.engine, &self.rules) {
            (Some(engine), _) => &engine.address,
            (None, Some(_)) => "embedded",
            (None, None) => "none",
        }
    }

    /// Decides. Whatever is not clearly an allowance is none.
    pub async fn decide(&self, request: &GateRequest) -> Decision {
        self.ask(request).await.decision
    }

    /// Decides on a promotion to a stage, which may want evidence of an allowance.
    pub async fn decide_for(&self, stage: Stage, request: &GateRequest) -> Decision {
        let decision = self.decide(request).await;
        if self.stage(stage).evidence { decision.with_evidence() } else { decision }
    }

    /// Decides, and says whether anything has answered.
    pub async fn ask(&self, request: &GateRequest) -> Verdict {
        match (&self.engine, &self.rules) {
            (Some(engine), _) => engine.ask(request).await,
            (None, Some(rules)) => {
                Verdict { decision: rules.policies().decide(request), answered: true }
            }
            (None, None) => Verdict {
                decision: Decision::no_answer("no policy is configured"),
                answered: false,
            },
        }
    }
}

fn engine(address: &str, config: &GateConfig, tls: &Tls) -> Result<Engine, GateError> {
    let fault = |why: String| GateError::Engine { address: address.to_owned(), why };
    let address = address.trim_end_matches('/');
    let url = reqwest::Url::parse(address).map_err(|why| fault(why.to_string()))?;
    let mut builder = reqwest::Client::builder()
        .timeout(TIMEOUT)
        // An engine that sends us elsewhere is not the one that was configured.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    match url.scheme() {
        "http" => {}
        "https" => {
            let ca = read(config.ca.as_ref().unwrap_or(&tls.ca))?;
            let pair = read(&tls.cert)? + &read(&tls.key)?;
            let ca = reqwest::Certificate::from_pem_bundle(ca.as_bytes());
            let identity = reqwest::Identity::from_pem(pair.as_bytes());
            for authority in ca.map_err(|why| fault(why.to_string()))? {
                builder = builder.add_root_certificate(authority);
            }
            builder = builder.identity(identity.map_err(|why| fault(why.to_string()))?);
        }
        other => return Err(fault(format!("`{other}` is no scheme for it"))),
    }
    let client = builder.build().map_err(|why| fault(why.to_string()))?;
    Ok(Engine { address: address.to_owned(), client })
}

impl Engine {
    /// Asks, up to three times where no answer comes. An answer is final, whatever it says.
    async fn ask(&self, request: &GateRequest) -> Verdict {
        let silent = |decision| Verdict { decision, answered: false };
        let body = request.body().to_string();
        let mut pauses = PAUSES.iter();
        loop {
            let why = match self.post(request, body.clone()).await {
                Ok((status, body)) => {
                    let decision = decide(&Reply::Answered { status, body: &body });
                    return Verdict { decision, answered: true };
                }
                Err(why) => why,
            };
            match pauses.next() {
                Some(pause) => tokio::time::sleep(*pause).await,
                None if why.is_timeout() => return silent(decide(&Reply::TimedOut)),
                None => return silent(decide(&Reply::Failed(&chain(&why)))),
            }
        }
    }

    async fn post(
        &self,
        request: &GateRequest,
        body: String,
    ) -> Result<(u16, Vec<u8>), reqwest::Error> {
        let mut response = self
            .client
            .post(format!("{}{PATH}", self.address))
            .header("content-type", "application/json")
            .header("x-request-id", request.request_id())
            .header(ROLES.0, ROLES.1)
            .body(body)
            .send()
            .await?;
        let status = response.status().as_u16();
        let mut read = Vec::new();
        // One byte too many is enough to refuse it.
        while let Some(chunk) = response.chunk().await? {
            read.extend_from_slice(&chunk);
            if read.len() > BODY_MAX {
                break;
            }
        }
        Ok((status, read))
    }
}

/// A fault with its causes: the outermost alone says nothing.
fn chain(fault: &dyn std::error::Error) -> String {
    let mut text = fault.to_string();
    let mut cause = fault.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

#[cfg(test)]
#[path = "gates_test.rs"]
mod tests;
