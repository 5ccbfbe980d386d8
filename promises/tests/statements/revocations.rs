//! What owners withdraw, close, and admit by name: what becomes of the promises that it is about.

use grid_promises::Timestamp;
use grid_promises::limits::MAX_VOID;
use grid_promises::network::act::{Act, Action, OfficeId};
use grid_promises::network::ledger::{Ledger, Merged, Refusal};
use grid_promises::network::member::PromiseError;
use grid_promises::network::membership::{NotAMember, decide};
use grid_promises::network::statement::{Signed, StatementError};
use grid_promises::network::void::Void;
use grid_promises::network::{AdmissionRule, view::View};

use crate::common::{DAY, HOUR, INVITES, MINUTE, Net, Node, T0, forge, key};
use crate::refusal;

/// A network of two owners, nodes 0 and 9; node 1 came by an invite of node 0, node 2 by one of
/// node 1, node 3 by one of node 2.
struct Scene {
    net: Net,
    nodes: Vec<Node>,
    ledger: Ledger,
}

fn scene() -> Scene {
    let owners = [key(0).id(), key(9).id()];
    let net = Net::with(|charter| {
        charter.owners = owners.to_vec();
        charter.owners.sort();
    });
    let mut nodes = vec![net.founder()];
    for n in 1..=3 {
        let issuer = nodes.last().unwrap();
        nodes.push(net.joined(issuer, INVITES + n, 9, n));
    }
    let ledger = net.ledger_of(&nodes);
    Scene { net, nodes, ledger }
}

impl Scene {
    /// The numbers of the nodes that are members once these acts are merged, in both orders.
    fn left(&self, acts: &[&Signed<Act>]) -> Vec<usize> {
        let mut after = self.ledger.clone();
        let mut before = self.net.ledger();
        for act in acts {
            assert_eq!(after.insert_bytes(act.bytes(), T0), Ok(Merged::New));
        }
        before.insert_acts(acts.iter().rev().map(|act| (*act).clone()), T0);
        for node in &self.nodes {
            let _ = before.insert_bytes(&node.bytes(), T0);
        }
        assert_eq!(
            members(&after, &self.nodes),
            members(&before, &self.nodes),
            "the order of arrival matters"
        );
        assert_eq!(after.root(), before.root());
        members(&after, &self.nodes)
    }

    /// What becomes of a node once these acts are merged.
    fn verdict(&self, acts: &[&Signed<Act>], node: &Node) -> Result<(), NotAMember> {
        let mut ledger = self.ledger.clone();
        for act in acts {
            ledger.insert_bytes(act.bytes(), T0).unwrap();
        }
        let now = node.body.issued;
        let _ = ledger.insert_bytes(&node.bytes(), now);
        decide(&ledger, now)[&node.id()]
    }

    /// Node 4 is appointed an owner by the founder; what it does by that office.
    fn junior(&self, actions: &[Action]) -> (Signed<Act>, Vec<Signed<Act>>) {
        let appointment = self.net.does(Action::Appoint { node: key(4).id() });
        let office = OfficeId(appointment.act_id());
        let mut ledger = self.net.ledger();
        ledger.insert_acts([appointment.clone()], T0);
        let acts = ledger
            .acts()
            .signed(&office, &key(4), actions.to_vec(), T0)
            .unwrap();
        (appointment, acts)
    }

    /// The founder ends that office after so many of its acts.
    fn dismissal(&self, appointment: &Signed<Act>, cut: Option<&Signed<Act>>) -> Signed<Act> {
        let office = OfficeId(appointment.act_id());
        self.net.act(&key(0), |act| {
            act.number = 2;
            act.previous = appointment.act_id();
            act.action = Action::Dismiss {
                office,
                cut: cut.map_or(office.0, |act| act.act_id()),
                heir: None,
            };
        })
    }
}

/// The numbers of those that are members.
fn members(ledger: &Ledger, nodes: &[Node]) -> Vec<usize> {
    let verdicts = decide(ledger, T0);
    let is_member = |n: &usize| verdicts.get(&nodes[*n].id()) == Some(&Ok(()));
    (0..nodes.len()).filter(is_member).collect()
}

const REVOKED: Result<(), NotAMember> = Err(NotAMember::Void(Void::Revoked));

fn revoke(node: &Node) -> Action {
    Action::Revoke { node: node.id() }
}

#[test]
fn a_revoked_node_is_out_with_all_whom_it_vouched_for() {
    let scene = scene();
    assert_eq!(scene.left(&[]), [0, 1, 2, 3]);
    let revoke = |n: usize| scene.net.revoke(&scene.nodes[n]);
    assert_eq!(scene.left(&[&revoke(3)]), [0, 1, 2]);
    assert_eq!(scene.left(&[&revoke(2)]), [0, 1]);
    assert_eq!(scene.left(&[&revoke(1)]), [0]);
    // An owner is dismissed, not revoked.
    assert_eq!(scene.left(&[&revoke(0)]), [0, 1, 2, 3]);
}

#[test]
fn a_revoked_node_does_not_come_back_by_what_it_has() {
    let mut scene = scene();
    let node = scene.nodes[1].clone();
    let revocation = scene.net.revoke(&node);
    let later = T0.after(HOUR);
    let again = node.at(99, later);
    let founder = &scene.nodes[0];
    let other_invite = scene.net.joined(founder, INVITES + 50, 9, 1).at(99, later);
    let alone = scene.net.admitted(1).at(99, later);
    for back in [&node, &again, &other_invite, &alone] {
        assert_eq!(scene.verdict(&[&revocation], back), REVOKED);
    }
    scene.ledger.insert_bytes(revocation.bytes(), T0).unwrap();
    let known = scene.ledger.insert_bytes(revocation.bytes(), later);
    assert_eq!(known, Ok(Merged::Known));
    // It is remembered: a prune forgets no act.
    scene.ledger.prune(Timestamp(u64::MAX));
    assert!(scene.ledger.authority().is_revoked(&node.id()));
}

#[test]
fn only_owners_act() {
    let scene = scene();
    for n in [1, 2, 55] {
        let act = scene.net.act(&key(n), |act| {
            act.action = revoke(&scene.nodes[3]);
        });
        assert_eq!(refusal(&scene.ledger, act.bytes(), T0), Refusal::NotAnOwner);
        // By an office that is another's.
        let act = scene.net.act(&key(n), |act| {
            act.office = scene.net.office(&key(0).id());
            act.previous = act.office.0;
        });
        assert_eq!(refusal(&scene.ledger, act.bytes(), T0), Refusal::NotAnOwner);
    }
    // In an owner's name, signed by somebody else.
    let body = scene.net.act_body(&key(0));
    assert_eq!(
        refusal(&scene.ledger, &forge(&body, &key(1)), T0),
        Refusal::Statement(StatementError::Signature("act"))
    );
}

#[test]
fn an_act_has_its_network_and_no_time() {
    let scene = scene();
    let other = Net::with(|charter| charter.created.0 += 1);
    assert_eq!(
        refusal(&scene.ledger, other.revoke(&scene.nodes[1]).bytes(), T0),
        Refusal::Promise(PromiseError::OtherNetwork)
    );
    for issued in [Timestamp(0), Timestamp(u64::MAX)] {
        let act = scene.net.act(&key(0), |act| {
            act.action = revoke(&scene.nodes[1]);
            act.issued = issued;
        });
        assert_eq!(scene.left(&[&act]), [0]);
    }
}

#[test]
fn a_closed_invite_admits_those_whom_it_keeps() {
    let scene = scene();
    let [founder, a, ..] = &scene.nodes[..] else {
        panic!("no nodes");
    };
    let net = &scene.net;
    let b = net.joined(founder, INVITES + 1, 9, 21);
    let c = net.joined(founder, INVITES + 1, 9, 22);
    // Somebody whom the founder saw after ten minutes.
    let seen = net.joined(founder, INVITES + 1, 9, 24);
    let at = T0.after(10 * MINUTE);
    let seen = seen
        .carrying(&[net.receipt(&founder.key, &seen, at, at)])
        .at(1, at);
    let nodes = vec![
        founder.clone(),
        a.clone(),
        b.clone(),
        c.clone(),
        seen.clone(),
    ];
    let mut ledger = net.ledger();
    for node in &nodes {
        ledger.insert_bytes(&node.bytes(), at).unwrap();
    }
    let scene = Scene {
        nodes,
        ledger,
        net: net.clone(),
    };
    let left = |acts: &[&Signed<Act>]| {
        let mut ledger = scene.ledger.clone();
        ledger.insert_acts(acts.iter().map(|act| (*act).clone()), at);
        members(&ledger, &scene.nodes)
    };
    let close = |keep: &[&Node]| net.close(INVITES + 1, T0, keep);
    assert_eq!(left(&[&close(&[a, &b])]), [0, 1, 2]);
    assert_eq!(left(&[&close(&[])]), [0]);
    assert_eq!(left(&[&net.close(INVITES + 1, at, &[])]), [0, 4]);
    // Of two closures only those stay whom both keep.
    assert_eq!(left(&[&close(&[a, &b]), &close(&[&b, &c])]), [0, 2]);
    // Another use of the closed invite is void; another invite of the same issuer is not.
    let closed = close(&[a]);
    let late = net.joined(founder, INVITES + 1, 9, 23);
    let invite = key(INVITES + 1).id();
    let void = Err(NotAMember::Void(Void::Closed { invite }));
    assert_eq!(scene.verdict(&[&closed], &late), void);
    let other = net.joined(founder, INVITES + 2, 9, 23);
    assert_eq!(scene.verdict(&[&closed], &other), Ok(()));
}

#[test]
fn an_owner_keeps_whom_it_admits_by_name() {
    let scene = scene();
    let [_, a, b, c] = &scene.nodes[..] else {
        panic!("no nodes");
    };
    let gone = scene.net.revoke(a);
    let name = |owner: u16, nodes: &[&Node]| scene.net.name(owner, nodes, &[]);
    assert_eq!(scene.left(&[&gone]), [0]);
    // Whom node 2 vouched for needs nobody else: node 2 stands by itself now.
    assert_eq!(scene.left(&[&gone, &name(0, &[b])]), [0, 2, 3]);
    assert_eq!(scene.left(&[&gone, &name(0, &[c])]), [0, 3]);
    assert_eq!(scene.left(&[&gone, &name(9, &[b, c])]), [0, 2, 3]);
    // The revoked node itself is not kept, unless its revocation is named: the owner changed its mind.
    assert_eq!(scene.left(&[&gone, &name(0, &[a])]), [0]);
    assert_eq!(scene.left(&[&gone, &name(9, &[c]), &name(0, &[a])]), [0, 3]);
    let over = scene.net.name(0, &[a], &[&gone]);
    assert_eq!(scene.left(&[&gone, &over]), [0, 1, 2, 3]);
    // A revocation by another owner is another one.
    let again = scene.net.act(&key(9), |act| act.action = revoke(a));
    assert_eq!(scene.left(&[&gone, &over, &again]), [0]);
    // Nor is one that was revoked by name before or after, and those who came in by it are out.
    let revoke_b = scene.net.revoke(b);
    assert_eq!(scene.left(&[&gone, &name(0, &[b]), &revoke_b]), [0]);
    assert_eq!(scene.left(&[&revoke_b, &gone, &name(0, &[b])]), [0]);
}

/// A member that was kept can invite others, though its own admission leads through a revoked node.
#[test]
fn whoever_was_kept_can_go_on_inviting() {
    let scene = scene();
    let [_, a, b, _] = &scene.nodes[..] else {
        panic!("no nodes");
    };
    let acts = [&scene.net.revoke(a), &scene.net.name(0, &[b], &[])];
    let guest = scene.net.joined(b, INVITES + 30, 1, 30);
    assert_eq!(scene.verdict(&acts, &guest), Ok(()));
    // It need not show how it came in: its chains may begin with itself.
    let rooted = scene.net.node(2, Default::default());
    let guest = scene.net.joined(&rooted, INVITES + 32, 1, 32);
    assert_eq!(scene.verdict(&acts, &guest), Ok(()));
    let nobody = Err(NotAMember::Void(Void::NotAdmitted));
    assert_eq!(scene.verdict(&acts[..1], &guest), nobody);
    // Through the revoked node itself nobody comes in.
    let other = scene.net.joined(a, INVITES + 31, 1, 31);
    assert_eq!(scene.verdict(&acts, &other), REVOKED);
}

/// Whoever was admitted by name is in, though its invite was used up by others or has expired.
#[test]
fn whoever_was_kept_needs_its_invite_no_longer() {
    let net = Net::new(AdmissionRule::Invite);
    let founder = net.founder();
    let a = net.joined(&founder, INVITES, 1, 1);
    let b = net.joined(&founder, INVITES, 1, 2);
    let a = a.carrying(&[net.receipt(&founder.key, &a, T0, T0)]);
    let guest = net.joined(&b, INVITES + 1, 1, 3);
    let late = T0.after(2 * DAY);
    let mut ledger = net.ledger();
    for node in [&a, &b.at(2, late), &guest.at(2, late)] {
        ledger.insert_bytes(&node.bytes(), late).unwrap();
    }
    let is_in = |ledger: &Ledger, node: &Node, now| decide(ledger, now)[&node.id()].is_ok();
    assert!(!is_in(&ledger, &b, late));
    let keep = net.name(0, &[&b], &[]);
    ledger.insert_bytes(keep.bytes(), late).unwrap();
    assert!(is_in(&ledger, &b, late));
    // Its guest's own invite has expired, and nobody saw it in time.
    assert!(!is_in(&ledger, &guest, late));
    assert!(is_in(&ledger, &guest, T0.after(MINUTE)));
}

/// What an owner did that was dismissed counts up to the cut; so do those whom it admitted or put out.
#[test]
fn what_a_dismissed_owner_did_counts_up_to_the_cut() {
    let scene = scene();
    let [_, a, b, _] = &scene.nodes[..] else {
        panic!("no nodes");
    };
    let (appointment, acts) = scene.junior(&[revoke(b), revoke(a)]);
    let [first, second] = &acts[..] else {
        panic!("no acts");
    };
    let all = [&appointment, first, second];
    assert_eq!(scene.left(&all), [0]);
    let after = |cut: Option<&Signed<Act>>| {
        let dismissal = scene.dismissal(&appointment, cut);
        let acts: Vec<&Signed<Act>> = all.into_iter().chain([&dismissal]).collect();
        scene.left(&acts)
    };
    assert_eq!(after(Some(second)), [0]);
    assert_eq!(after(Some(first)), [0, 1]);
    assert_eq!(after(None), [0, 1, 2, 3]);
}

/// A dismissed owner is no member any longer, unless somebody admits it by name; whom it invited stays if another
/// owner saw it.
#[test]
fn a_dismissed_owner_takes_those_with_it_whom_nobody_else_saw() {
    let scene = scene();
    let net = &scene.net;
    let (appointment, _) = scene.junior(&[]);
    let office = OfficeId(appointment.act_id());
    let junior = net.node(4, Default::default());
    let grant = {
        let mut body = net.grant_body(&junior.id(), INVITES + 60, 9);
        body.office = Some(office);
        Signed::sign(body, &junior.key).unwrap()
    };
    let invited = |n: u16| {
        let link = net.link(&grant, INVITES + 60, &key(n).id());
        net.node(n, junior.admission.extended(link))
    };
    let unseen = invited(61);
    let seen = |witness: u16| {
        let node = invited(62);
        node.carrying(&[net.receipt(&key(witness), &node, T0, T0)])
    };
    let dismissal = scene.dismissal(&appointment, None);
    let before = [&appointment];
    let after = [&appointment, &dismissal];
    for node in [&junior, &unseen, &seen(4), &seen(9)] {
        assert_eq!(scene.verdict(&before, node), Ok(()));
    }
    let invite = grant.invite;
    let ended = Err(NotAMember::Void(Void::OfficeEnded { invite }));
    let dismissed = Err(NotAMember::Void(Void::Dismissed));
    assert_eq!(scene.verdict(&after, &junior), dismissed);
    assert_eq!(scene.verdict(&after, &unseen), ended);
    assert_eq!(scene.verdict(&after, &seen(4)), ended);
    assert_eq!(scene.verdict(&after, &seen(9)), Ok(()));
    // Revoked, it takes all of them with it; admitted by name, none that anybody saw.
    let revoked = net.act(&key(9), |act| act.action = revoke(&junior));
    let out = [&appointment, &dismissal, &revoked];
    assert_eq!(scene.verdict(&out, &seen(9)), REVOKED);
    let named = net.name(9, &[&junior], &[]);
    let kept = [&appointment, &dismissal, &named];
    assert_eq!(scene.verdict(&kept, &junior), Ok(()));
    // An invite by an office that nobody knows, or that is another's, admits nobody.
    let nobody = Err(NotAMember::Void(Void::NotAdmitted));
    assert_eq!(scene.verdict(&[], &unseen), nobody);
    let mut body = net.grant_body(&key(1).id(), INVITES + 61, 9);
    body.office = Some(net.office(&key(0).id()));
    let grant = Signed::sign(body, &key(1)).unwrap();
    let link = net.link(&grant, INVITES + 61, &key(63).id());
    let borrowed = net.node(
        63,
        grid_promises::network::admission::Admission::from_links(vec![link]),
    );
    assert_eq!(scene.verdict(&[], &borrowed), nobody);
}

/// What does not count is kept, because it may count again; and there is an end to it, whoever sends how much.
#[test]
fn room_for_what_does_not_count_is_bounded() {
    let scene = scene();
    let mut ledger = scene.ledger.clone();
    let revocation = scene.net.revoke(&scene.nodes[1]);
    ledger.insert_bytes(revocation.bytes(), T0).unwrap();
    let before = ledger.index().len();
    let count = u16::try_from(MAX_VOID).unwrap();
    let sybils = (100..100 + count).map(|n| {
        let host = if n % 2 == 0 {
            &scene.nodes[1]
        } else {
            &scene.nodes[3]
        };
        scene.net.joined(host, INVITES + 70, 10_000, n)
    });
    for sybil in sybils {
        let _ = ledger.insert_bytes(&sybil.bytes(), T0);
    }
    // The three that were members once are nearer to what put them out.
    assert_eq!(ledger.index().len(), before + MAX_VOID - 3);
    assert!(
        scene
            .nodes
            .iter()
            .all(|node| ledger.promise_of(&node.id()).is_some())
    );
    assert_eq!(ledger.members().len(), 1);
    assert_eq!(View::of(&ledger, T0).members.len(), 1);
    // And once the founder changes its mind, they are members again.
    let over = scene.net.name(0, &[&scene.nodes[1]], &[&revocation]);
    ledger.insert_bytes(over.bytes(), T0).unwrap();
    assert_eq!(members(&ledger, &scene.nodes), [0, 1, 2, 3]);
}

/// A promise whose admission names a revoked node anywhere on its way is void.
#[test]
fn an_admission_of_the_revoked_is_void_even_when_it_was_not_known() {
    let scene = scene();
    let revocation = [&scene.net.revoke(&scene.nodes[2])];
    let unknown = scene.net.joined(&scene.nodes[3], INVITES + 40, 1, 41);
    assert_eq!(scene.verdict(&revocation, &unknown), REVOKED);
    let other = scene.net.joined(&scene.nodes[1], INVITES + 40, 1, 41);
    assert_eq!(scene.verdict(&revocation, &other), Ok(()));
}
