//! What owners did, in words.

use grid_promises::core::Undone;
use grid_promises::network::act::Action;

use super::named::{Named, Names};

/// What an owner did, and who it was.
#[must_use]
pub fn in_words(deed: &Undone, names: &Names) -> String {
    let one = |node| Named::list(&names.of_all(&[node]));
    let what = match &deed.action {
        Action::Admit { nodes, .. } => format!(
            "the admission by name of {}",
            Named::list(&names.of_all(nodes))
        ),
        Action::Close { invite, .. } => format!("the closing of the invite {}", invite.short()),
        Action::Revoke { node } => format!("the revocation of {}", one(*node)),
        Action::Appoint { node } => format!("the appointment of {}", one(*node)),
        Action::Dismiss { office, heir, .. } => {
            let whom = names.holder(office);
            let whom = whom.unwrap_or_else(|| "an owner".to_owned());
            let heir = heir.map(|heir| format!(", with {} as its heir,", one(heir)));
            format!("the dismissal of {whom}{}", heir.unwrap_or_default())
        }
    };
    format!("{what} by {}", names.owner(&deed.owner))
}

#[cfg(test)]
mod tests {
    use grid_keys::NodeId;
    use grid_promises::Timestamp;
    use grid_promises::network::act::{ActId, OfficeId};

    use super::*;

    #[test]
    fn a_dismissal_says_whom_and_the_recovery_key_is_called_so() {
        let node = |number| NodeId([number; 32]);
        let office = OfficeId(ActId([7; 32]));
        let names = Names::new(&node(9), [(node(1), "a"), (node(4), "d")])
            .with_office(&office, &node(1))
            .with_recovery_key(&node(8));
        let said = |owner, office, heir| {
            let deed = Undone {
                act: ActId([1; 32]),
                owner,
                action: Action::Dismiss {
                    office,
                    cut: ActId([2; 32]),
                    heir,
                },
                issued: Timestamp(5),
            };
            in_words(&deed, &names)
        };
        assert_eq!(
            said(node(8), office, Some(node(4))),
            "the dismissal of a, with d as its heir, by the recovery key"
        );
        assert_eq!(said(node(4), office, None), "the dismissal of a by d");
        let unknown = OfficeId(ActId([6; 32]));
        assert_eq!(
            said(node(9), unknown, None),
            "the dismissal of an owner by this node"
        );
    }
}
