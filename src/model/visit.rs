//! Going over the parameters of a model, with their names.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

use super::weights::Weights;

/// The name of the parameter that a visitor or mapper is at: the fields on the way, with dots.
#[derive(Debug, Default)]
pub struct NamePath(Vec<String>);

impl NamePath {
    /// To be called by `enter_module`.
    pub fn enter(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    /// To be called by `exit_module`.
    pub fn exit(&mut self) {
        self.0.pop();
    }

    /// The name, as [`ModelConfig::tensors`](super::ModelConfig::tensors) has it.
    pub fn name(&self) -> String {
        self.0.join(".")
    }
}

/// Whether no parameter of a module is infinite or not a number.
pub(super) fn is_finite(module: &impl Module) -> bool {
    let mut finite = Finite(true);
    module.visit(&mut finite);
    finite.0
}

/// Collects every parameter of a module by name, as numbers.
pub(super) fn collect_weights(module: &impl Module) -> Weights {
    let mut collect = Collect { path: NamePath::default(), weights: Weights::new() };
    module.visit(&mut collect);
    collect.weights
}

struct Finite(bool);

impl ModuleVisitor for Finite {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0 = self.0 && param.val().without_autodiff().into_data().iter::<f32>().all(f32::is_finite);
    }
}

struct Collect {
    path: NamePath,
    weights: Weights,
}

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let values = param.val().without_autodiff().into_data().iter::<f32>().collect();
        self.weights.insert(self.path.name(), values);
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
}
