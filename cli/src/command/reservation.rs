//! Windows of nodes and time: made, listed, taken back.

use super::{Context, change::done, live, usage::now};
use crate::{
    args::reservation::{Create, Reservation as Args},
    client::Answer,
    exit::Exit,
    fault::Fault,
    render::reservation::{self as render, Detail, Reservations},
};
use domain::reservation::{Reservation, ReservationView, WantedNodes, WindowKind};
use proto::v1::{ReservationsQuery, query_request::What};

/// `assay reservation`.
///
/// # Errors
/// When it is refused, there is none of the name, or nobody answers.
pub async fn run(context: &Context, args: Args) -> Result<Exit, Fault> {
    match args {
        Args::Create(args) => create(context, *args).await,
        Args::List(live) => {
            live::show(context, live, asked(""), |answer| {
                let (reservations, log_index) = (answer.value, answer.log_index);
                let list = Reservations { reservations, log_index };
                context
                    .output
                    .show("reservations", &list, |style| render::list(style, &list, now()))
            })
            .await
        }
        Args::Show { name, live } => {
            live::show(context, live, asked(&name), |answer| show(context, &name, answer).map(drop))
                .await
        }
        Args::Delete { name } => {
            let at = context.client.delete_reservation(&name).await?;
            done(context, at, &format!("reservation {name} is deleted; its nodes are free for all"))
        }
    }
}

async fn create(context: &Context, args: Create) -> Result<Exit, Fault> {
    let nodes = match args.count {
        Some(count) => WantedNodes::Count { count, gpu_model: args.gpu_model },
        None => WantedNodes::Named(args.nodes.into_iter().collect()),
    };
    let asked = Reservation {
        name: args.name,
        nodes,
        start: args.start.since_epoch(now()),
        duration: args.duration,
        users: args.users.into_iter().collect(),
        queues: args.queues.into_iter().collect(),
        kind: match args.maintenance {
            true => WindowKind::Maintenance,
            false => WindowKind::Reservation,
        },
        reason: args.reason,
    };
    asked.check().map_err(|fault| {
        Fault::usage("reservation", format!("reservation `{}`: {fault}", asked.name))
    })?;
    context.client.create_reservation(&asked).await?;
    let answer = context.client.query(self::asked(&asked.name)).await?;
    show(context, &asked.name, answer)
}

fn show(
    context: &Context,
    name: &str,
    answer: Answer<Vec<ReservationView>>,
) -> Result<Exit, Fault> {
    let Some(reservation) = answer.value.into_iter().next() else {
        let fault = Fault::not_found(format!("there is no reservation `{name}`"));
        return Err(fault.hint("`assay reservation list` shows what there is"));
    };
    let detail = Detail { reservation, log_index: answer.log_index };
    let text = |style| render::detail(style, &detail.reservation, now());
    context.output.show("reservation", &detail, text)?;
    Ok(Exit::Ok)
}

fn asked(name: &str) -> What {
    What::Reservations(ReservationsQuery { name: name.to_owned() })
}
