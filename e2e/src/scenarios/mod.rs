//! What a user does, and what a user must see. Each scenario has a namespace of its own, and finds the operator installed.

use std::pin::Pin;

use crate::{failure::Outcome, world::World};

type Run<'w> = Pin<Box<dyn Future<Output = Outcome> + 'w>>;

/// One scenario.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: for<'w> fn(&'w World<'w>) -> Run<'w>,
}

macro_rules! scenarios {
    ($($module:ident $name:literal $about:literal,)*) => {
        $(mod $module;)*
        /// All of them, in the order in which they run.
        pub(crate) const SCENARIOS: &[Scenario] = &[
            $(Scenario { name: $name, about: $about, run: |world| Box::pin($module::run(world)) }),*
        ];
    };
}

scenarios! {
    install "install" "helm install gives a ready operator, definitions that explain themselves, and a helm test that draws",
    minimal "minimal" "the shortest resource becomes Ready, and draws the prompt's picture at the load balancer's address",
    examples "examples" "every example is accepted; those that can run here do, the others say why not",
    replicas "replicas" "two replicas really serve",
    scale "scale" "kubectl scale, refused while autoscaling is on; suspend and resume",
    broken "broken" "what is broken shows with its reason, and recovers when it is mended",
    policy "policy" "who may connect to the serving port and to the admin port",
    killed "killed" "a killed pod and a killed process come back, and Ready tells the truth on the way",
    rolling "rolling" "changes of the spec roll under constant load without a failed request",
    autoscaling "autoscaling" "load adds a pod, the operator leaves the number alone, and it shrinks again",
    node_death "node-death" "a node dies: what the other one accepted is answered",
    hub "hub" "a model from a hub: fetched once for all pods or by each; a broken download shows, and recovers",
    threads "threads" "a server has as many threads as its container may use CPUs",
    delete "delete" "deleting leaves nothing behind, also without the operator; a retained claim stays",
    upgrade "upgrade" "upgrade, rollback, uninstall and reinstall of the operator restart no model",
}
