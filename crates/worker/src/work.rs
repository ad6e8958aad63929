//! What is to be done at one device, parsed and checked before the device hears of it.

use std::{collections::BTreeMap, sync::OnceLock};

use turnup_core::{
    id::OrderId,
    message::{Condition, DeviceEdit, DeviceWork, InForce},
    profile::{ListMoves, WithDefaults},
};
use turnup_netconf::{
    capability::Capabilities,
    compare,
    operation::{
        ConfirmedCommit, Datastore, DefaultOperation, EditConfig, ErrorOption, Filter, Operation, TestOption,
    },
    ssh::{HostKeyError, PinnedHostKey, SshAlgorithms, Target, WeakAlgorithmError},
    xml::{Element, Limits, XmlError, parse_str},
};

use crate::{
    activate::{activated, deactivated},
    base_1_0::without_remove,
    lacks::lacks,
    nodes::Nodes,
    read_mode::ReadOptions,
    secrets::Secrets,
    unite::{Of, unite},
    whole::{Whole, moves_entries, written_in_order},
};

mod drift;

pub(crate) use drift::Repair;

/// Why a deployment can't be carried out as it was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadWork {
    /// A part is no XML.
    #[error("the {part} of order {order} is no configuration: {error}")]
    Xml { part: &'static str, order: String, error: XmlError },
    /// The profile allows an SSH algorithm that is none.
    #[error("'ssh_algorithms' of the platform profile: {0}")]
    Algorithm(#[from] WeakAlgorithmError),
    /// The platform's RPC for saving is no XML.
    #[error("'save_rpc' of the platform profile is no XML: {0}")]
    SaveRpc(XmlError),
    /// The pinned host key is none.
    #[error("the pinned host key is {0}")]
    HostKey(#[from] HostKeyError),
}

/// What is to be done at one device.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) target: Target,
    /// None: nobody has said that this device is to be trusted.
    pub(crate) host_key: Option<PinnedHostKey>,
    /// The with-defaults mode that the platform's profile chooses.
    pub(crate) with_defaults: WithDefaults,
    /// Weak SSH algorithms that the platform is allowed.
    pub(crate) algorithms: SshAlgorithms,
    /// How list entries are moved.
    list_moves: ListMoves,
    /// The platform's RPC that keeps running over a reboot, if it has one.
    pub(crate) save_rpc: Option<Element>,
    edit: Vec<Element>,
    inverse: Vec<Element>,
    /// No edit changes anything.
    only_reads: bool,
    filter: Filter,
    goals: Vec<Goal>,
    /// What all goals know of nodes.
    nodes: Nodes,
    /// How [`Self::read`] reads; as the device does it by itself until that is known.
    read_options: OnceLock<ReadOptions>,
    /// Secret values in it.
    secrets: Secrets,
}

/// What one edit wants, and what was there before.
#[derive(Debug)]
struct Goal {
    order: OrderId,
    after: Wanted,
    before: Wanted,
    nodes: Nodes,
    /// All of the order's service, where drift is looked for.
    whole: Option<Whole>,
    /// Whether the edit moves entries of a list.
    moves_entries: bool,
}

#[derive(Debug)]
enum Wanted {
    Contains(Element),
    Lacks(Element),
    All(Vec<Wanted>),
}

/// Which way an edit goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To what the orders want.
    Forward,
    /// Back to what was.
    Back,
}

/// The content of an element: the elements are children of what is returned.
pub(crate) fn parse(text: &str) -> Result<Element, XmlError> {
    // A message has at most 1 MiB, so this is bounded already.
    parse_str(&format!("<config>{text}</config>"), &Limits::default())
}

fn fragment(part: &'static str, edit: &DeviceEdit, text: &str) -> Result<Element, BadWork> {
    parse(text).map_err(|error| BadWork::Xml { part, order: edit.order.to_string(), error })
}

impl Work {
    /// Parses and checks everything.
    pub(crate) fn new(work: &DeviceWork) -> Result<Self, BadWork> {
        let host_key = work.host_key.as_deref().map(str::parse).transpose()?;
        let extra = work.profile.ssh_algorithms.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
        let algorithms = SshAlgorithms { extra };
        let save_rpc = parse(&work.profile.save_rpc).map_err(BadWork::SaveRpc)?.into_children().next();
        let (mut forward, mut inverse, mut filter) = (Vec::new(), Vec::new(), Vec::new());
        let mut goals = Vec::with_capacity(work.edits.len());
        for edit in &work.edits {
            forward.extend(fragment("edit", edit, &edit.edit)?.into_children());
            filter.extend(fragment("filter", edit, &edit.filter)?.into_children());
            goals.push(Goal::new(work, edit)?);
        }
        // What was done last is undone first.
        for edit in work.edits.iter().rev() {
            inverse.extend(fragment("inverse edit", edit, &edit.inverse)?.into_children());
        }
        let joint: BTreeMap<&str, (&DeviceEdit, &str)> = work
            .edits
            .iter()
            .flat_map(|edit| edit.joint.iter().map(move |joint| (joint, edit)))
            .map(|(joint, edit)| (joint.node.as_str(), (edit, joint.removal.as_str())))
            .collect();
        for (edit, removal) in joint.values() {
            inverse.extend(fragment("removal", edit, removal)?.into_children());
        }
        let nodes = Nodes::agreed(goals.iter().map(|goal| &goal.nodes));
        if work.edits.len() > 1 || !joint.is_empty() {
            forward = unite(forward, &nodes, Of::Edits);
            inverse = unite(inverse, &nodes, Of::Edits);
            filter = unite(filter, &nodes, Of::Filters);
        }
        Ok(Self {
            target: Target::new(work.address.clone(), work.port),
            host_key,
            with_defaults: work.profile.with_defaults,
            list_moves: work.profile.list_moves,
            algorithms,
            save_rpc,
            edit: forward,
            inverse,
            only_reads: !work.edits.is_empty() && work.edits.iter().all(DeviceEdit::only_reads),
            filter: Filter::Subtree(filter),
            goals,
            nodes,
            read_options: OnceLock::new(),
            secrets: Secrets::of(work),
        })
    }

    /// The `edit-config`, with what the device's capabilities allow. `data` is what the device holds of what
    /// the edits touch: where it knows no `remove`, that decides.
    pub(crate) fn edit(
        &self,
        (direction, repair): (Direction, Option<&Repair>),
        can: &Capabilities,
        target: Datastore,
        data: &Element,
    ) -> Operation {
        let test = can.validate().then_some(TestOption::TestThenSet);
        let config = self.config(direction, repair);
        Operation::edit_config(self.edit_config(config, can, target, data, test))
    }

    /// The requests that put an edit into the candidate. Where the profile has moved entries made again, entries that
    /// the edit replaces are removed first, and written without `yang:insert`.
    pub(crate) fn candidate_edits(
        &self,
        (direction, repair): (Direction, Option<&Repair>),
        can: &Capabilities,
        data: &Element,
    ) -> Vec<Operation> {
        let mut config = self.config(direction, repair).to_vec();
        let mut edits = Vec::with_capacity(2);
        if self.list_moves == ListMoves::Recreate {
            edits.push(Whole::replaced_entries_removed(&config, data, &self.nodes));
            config.iter_mut().for_each(written_in_order);
        }
        edits.push(config);
        let test = can.validate().then_some(TestOption::TestThenSet);
        let edits = edits.iter().filter(|edit| !edit.is_empty());
        let request = |edit: &Vec<Element>| {
            Operation::edit_config(self.edit_config(edit, can, Datastore::Candidate, data, test))
        };
        edits.map(request).collect()
    }

    /// Edits that move list entries, of services whose whole configuration is known: their places.
    pub(crate) fn moving(&self) -> Vec<usize> {
        let moving = |goal: &Goal| goal.moves_entries && goal.whole.is_some();
        self.goals.iter().enumerate().filter(|(_, goal)| moving(goal)).map(|(place, _)| place).collect()
    }

    /// The first node that is deactivated on the device, stays so, and that the edit would change something in: path
    /// and mark.
    pub(crate) fn deactivated(&self, repair: Option<&Repair>, data: &Element) -> Option<(String, String)> {
        let config = activated(self.config(Direction::Forward, repair), data, &self.nodes);
        deactivated(&config, data, &self.nodes)
    }

    /// The `edit-config` that only tests the edit of running; for devices with `:validate:1.1`.
    pub(crate) fn test(&self, repair: Option<&Repair>, can: &Capabilities, data: &Element) -> Operation {
        let config = self.config(Direction::Forward, repair);
        let test = Some(TestOption::TestOnly);
        Operation::edit_config(self.edit_config(config, can, Datastore::Running, data, test))
    }

    fn config<'w>(&'w self, direction: Direction, repair: Option<&'w Repair>) -> &'w [Element] {
        match (direction, repair) {
            (Direction::Forward, None) => &self.edit,
            (Direction::Back, None) => &self.inverse,
            (Direction::Forward, Some(repair)) => &repair.forward,
            (Direction::Back, Some(repair)) => &repair.back,
        }
    }

    fn edit_config(
        &self,
        config: &[Element],
        can: &Capabilities,
        target: Datastore,
        data: &Element,
        test_option: Option<TestOption>,
    ) -> EditConfig {
        let config = activated(config, data, &self.nodes);
        let config = match can.base_1_1() {
            true => config,
            false => without_remove(&config, data, &self.nodes),
        };
        EditConfig {
            default_operation: Some(DefaultOperation::Merge),
            test_option,
            error_option: can.rollback_on_error().then_some(ErrorOption::RollbackOnError),
            ..EditConfig::new(target, config)
        }
    }

    /// Whether there is nothing to be edited in this direction.
    pub(crate) fn changes_nothing(&self, direction: Direction, repair: Option<&Repair>) -> bool {
        self.config(direction, repair).is_empty()
    }

    fn how_read(&self) -> ReadOptions {
        self.read_options.get().copied().unwrap_or_default()
    }

    /// From now on, [`Self::read`] reads as is best for a device with these capabilities. The first call counts:
    /// all sessions are with one device, and two readings are compared only if they were made alike.
    pub(crate) fn set_read_options(&self, can: &Capabilities) {
        let _ = self.read_options.set(ReadOptions::of(can, self.with_defaults));
    }

    /// The `get-config` of what the edits touch, in running.
    pub(crate) fn read(&self) -> Operation {
        self.read_with(self.how_read())
    }

    /// The same, read in a certain way.
    pub(crate) fn read_with(&self, options: ReadOptions) -> Operation {
        options.get_config(&self.filter)
    }

    /// Whether all edits are in force.
    pub(crate) fn after(&self, data: &Element) -> bool {
        self.goals.iter().all(|goal| goal.after.holds(data, &goal.nodes))
    }

    /// What is in force of each edit, in their order; [`InForce::Partly`] of one that is neither in force nor
    /// as it was before. One that writes again what was there ([`Self::is_new`]) is taken for not in force.
    pub(crate) fn each(&self, data: &Element) -> Vec<InForce> {
        let each = self.goals.iter().map(|goal| match goal.is_as_before(data) {
            true => InForce::Old,
            false if goal.after.holds(data, &goal.nodes) => InForce::New,
            false => InForce::Partly,
        });
        each.collect()
    }

    /// Whether somebody has put all edits in force. Not so if what was there before is what is wanted: then nobody
    /// can tell whether what more there was has been replaced already, and doing that twice does no harm.
    pub(crate) fn is_new(&self, data: &Element) -> bool {
        self.after(data) && !self.before(data)
    }

    /// Whether no edit is in force.
    pub(crate) fn before(&self, data: &Element) -> bool {
        self.goals.iter().all(|goal| goal.is_as_before(data))
    }

    /// Where the data differs from what is wanted, in words.
    pub(crate) fn difference(&self, data: &Element) -> String {
        let found = self.goals.iter().find_map(|goal| goal.after.difference(data, &goal.nodes));
        found.unwrap_or_else(|| "nothing differs".to_owned())
    }

    /// Whether two readings of what the edits touch are the same.
    pub(crate) fn same(&self, a: &Element, b: &Element) -> bool {
        compare::contains_reading(a, b, &self.nodes) && compare::contains_reading(b, a, &self.nodes)
    }

    /// The secret values in it.
    pub(crate) const fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Whether the data has both what an edit wants and what was before it, as it changes nothing but values that the
    /// device shows differently. Only another reading of the device can tell more.
    pub(crate) fn is_unclear(&self, data: &Element) -> bool {
        self.goals.iter().any(|goal| goal.is_unclear(data))
    }
}

impl Goal {
    fn new(work: &DeviceWork, edit: &DeviceEdit) -> Result<Self, BadWork> {
        let mut facts = edit.nodes.clone();
        facts.add_inside(&work.inside);
        let whole = match &edit.whole {
            None => None,
            Some(whole) => {
                facts.add_inside(&whole.inside);
                let before = fragment("service as it was", edit, &whole.before)?;
                let rewrite = whole.rewrite.as_ref().unwrap_or(&edit.edit);
                let rewrite = fragment("service as it is to be", edit, rewrite)?;
                Some(Whole::new(whole, before, rewrite))
            }
        };
        Ok(Self {
            order: edit.order,
            after: Wanted::new("condition after", edit, &edit.after)?,
            before: Wanted::new("condition before", edit, &edit.before)?,
            nodes: Nodes::new(&edit.keys, &facts),
            whole,
            moves_entries: moves_entries(&fragment("edit", edit, &edit.edit)?),
        })
    }

    /// See [`Work::is_unclear`].
    fn is_unclear(&self, data: &Element) -> bool {
        let Self { after, before, nodes, .. } = self;
        if !nodes.may_differ() || !after.holds(data, nodes) || !before.holds(data, nodes) {
            return false;
        }
        let mut known = Vec::new();
        before.trees(&mut known);
        !known.into_iter().any(|before| after.is_written_in(before, nodes))
    }

    /// Whether the data is as it was before the edit. An edit that changes nothing but how a value of an
    /// unknown kind is written, such as a name from `01` to `1`, is known by the very text.
    fn is_as_before(&self, data: &Element) -> bool {
        let Self { after, before, nodes, .. } = self;
        before.holds(data, nodes)
            && !(after.holds(data, nodes)
                && after.holds_as_written(data, nodes)
                && !before.holds_as_written(data, nodes))
    }
}

impl Wanted {
    fn new(part: &'static str, edit: &DeviceEdit, condition: &Condition) -> Result<Self, BadWork> {
        match condition {
            Condition::Contains(text) => fragment(part, edit, text).map(Self::Contains),
            Condition::Lacks(text) => fragment(part, edit, text).map(Self::Lacks),
            // As deep as JSON is parsed, so this ends.
            Condition::All(all) => {
                all.iter().map(|one| Self::new(part, edit, one)).collect::<Result<_, _>>().map(Self::All)
            }
        }
    }

    fn holds(&self, data: &Element, nodes: &Nodes) -> bool {
        match self {
            Self::Contains(wanted) => compare::contains(data, wanted, nodes),
            Self::Lacks(gone) => lacks(data, gone, nodes, ""),
            Self::All(all) => all.iter().all(|one| one.holds(data, nodes)),
        }
    }

    /// What is to be there.
    fn trees<'w>(&'w self, found: &mut Vec<&'w Element>) {
        match self {
            Self::Contains(wanted) => found.push(wanted),
            Self::Lacks(_) => {}
            Self::All(all) => all.iter().for_each(|one| one.trees(found)),
        }
    }

    /// Whether all of it is in other configuration that was sent, with the very values.
    fn is_written_in(&self, other: &Element, nodes: &Nodes) -> bool {
        match self {
            Self::Contains(wanted) => compare::contains_reading(other, wanted, nodes),
            Self::Lacks(gone) => lacks(other, gone, nodes, ""),
            Self::All(all) => all.iter().all(|one| one.is_written_in(other, nodes)),
        }
    }

    fn holds_as_written(&self, data: &Element, nodes: &Nodes) -> bool {
        match self {
            Self::Contains(wanted) => compare::contains_as_written(data, wanted, nodes),
            Self::Lacks(gone) => lacks(data, gone, nodes, ""),
            Self::All(all) => all.iter().all(|one| one.holds_as_written(data, nodes)),
        }
    }

    /// Why it doesn't hold, in words; none if it does.
    fn difference(&self, data: &Element, nodes: &Nodes) -> Option<String> {
        match self {
            Self::Contains(wanted) => {
                compare::differences(data, wanted, nodes, 1).first().map(ToString::to_string)
            }
            Self::Lacks(gone) => {
                (!lacks(data, gone, nodes, "")).then(|| "what was to be removed is still there".to_owned())
            }
            Self::All(all) => all.iter().find_map(|one| one.difference(data, nodes)),
        }
    }
}

/// The commit that goes back by itself unless it is confirmed; without `persist` also with the session.
pub(crate) fn commit_provisionally(persist: Option<&str>, confirm_timeout_s: u32) -> Operation {
    Operation::commit_confirmed(&ConfirmedCommit {
        confirm_timeout_s,
        persist: persist.map(str::to_owned),
        persist_id: None,
    })
}

#[cfg(test)]
mod tests {
    use turnup_core::nodes::NodeFacts;
    use turnup_netconf::model::Model as _;

    use super::*;

    #[test]
    fn lists_that_edits_know_by_other_keys_are_not_mixed_up() {
        let nodes = |key: &str| {
            Nodes::new(&BTreeMap::from([("entry".to_owned(), vec![key.to_owned()])]), &NodeFacts::default())
        };
        let (by_id, by_name) = (nodes("id"), nodes("name"));
        let agreed = Nodes::agreed([&by_id, &by_name, &by_id].into_iter());
        assert_eq!(agreed.list_keys("entry").unwrap(), ["id", "name"]);
        let entry = |id: &str| parse(&format!("<entry><id>{id}</id><name>a</name></entry>")).unwrap();
        let apart =
            unite([entry("1"), entry("2")].into_iter().flat_map(Element::into_children), &agreed, Of::Edits);
        assert_eq!(apart.len(), 2, "two entries of the one who knows them by id");
    }

    #[test]
    fn profile_and_ssh_know_the_same_weak_algorithms() {
        let names = turnup_netconf::ssh::WeakAlgorithm::ALL.map(turnup_netconf::ssh::WeakAlgorithm::name);
        assert_eq!(names, turnup_core::profile::WEAK_SSH_ALGORITHMS);
    }

    #[test]
    fn an_edit_that_only_writes_a_name_otherwise_is_known_by_its_text() {
        let contains = |text: &str| {
            let name = format!("<p xmlns=\"urn:a\"><description>{text}</description></p>");
            Wanted::Contains(parse(&name).unwrap())
        };
        let order = OrderId(uuid::Uuid::nil());
        let nodes = Nodes::default();
        let goal = Goal {
            order,
            after: contains("100"),
            before: contains("0100"),
            nodes,
            whole: None,
            moves_entries: false,
        };
        let data =
            |text: &str| parse(&format!("<p xmlns=\"urn:a\"><description>{text}</description></p>")).unwrap();
        assert!(goal.is_as_before(&data("0100")));
        assert!(!goal.is_as_before(&data("100")));
        assert!(!goal.is_as_before(&data("x")));
    }
}
