//! Windows of nodes and time: made, taken back, shown.

use super::{
    context::Context,
    error,
    identity::Identity,
    query::{self, Answer},
    rights, submit,
};
use crate::state::{
    command::{Command, WindowCommand},
    view::View,
};
use proto::v1::{self, reserve_request::Change};
use tonic::{Request, Status};

/// Makes a window, or takes one back.
///
/// # Errors
/// When it breaks a rule, its nodes are in another window then, or there is no leader.
pub async fn change(
    context: &Context,
    request: Request<v1::ReserveRequest>,
) -> Result<v1::DoneReply, Status> {
    let user = Identity::of(&request)?.user()?;
    rights::admin(context, &user)?;
    let v1::ReserveRequest { key, change } = request.into_inner();
    let command = match change {
        Some(Change::Create(asked)) => {
            let invalid = |fault: proto::convert::WireError| {
                error::status("invalid", fault.to_string(), "correct the reservation", false)
            };
            WindowCommand::Create(asked.try_into().map_err(invalid)?)
        }
        Some(Change::Delete(name)) => WindowCommand::Delete { name },
        None => {
            return Err(error::status("invalid", "no change is named", "set `change`", false));
        }
    };
    submit::change(context, &user, &key, Command::Reserve(command)).await
}

/// All windows that are not over, or the one of a name.
pub(super) fn document(view: &View<'_>, name: &str) -> Answer {
    let mut all = view.reservations();
    if !name.is_empty() {
        all.retain(|it| it.name == name);
        if all.is_empty() {
            return Err(query::absent(&format!("reservation `{name}`"), "reservation list"));
        }
    }
    query::json(&all)
}
