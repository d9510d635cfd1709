//! AdamW over the parameters of a model, with clipping by global norm.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{self, Tensor};

use crate::kernels::{AdamW, GradientScale, Moments, Norm, Parameter, adamw_step};
use crate::model::{NamePath, Transformer};
use crate::spec::OptimizerConfig;

/// Added to the norm that a gradient is divided by, as in `torch.nn.utils.clip_grad_norm_`.
const CLIP_EPSILON: f64 = 1e-6;

/// Gradients by parameter name, each as a vector; summed over micro-batches.
#[derive(Debug, Default)]
pub struct Gradients(BTreeMap<String, Tensor<1>>);

impl Gradients {
    /// Backpropagates from `loss [1]` and adds the gradients of the model's parameters. A parameter
    /// that the loss does not depend on has none.
    pub fn add(&mut self, model: &Transformer, loss: &Tensor<1>) {
        let gradients = loss.backward();
        model.visit(&mut Add { gradients, path: NamePath::default(), sums: &mut self.0 });
    }

    /// The global norm: the root of the sum of the squares of all elements.
    pub fn norm(&self) -> Norm {
        Norm::new(self.0.values())
    }
}

struct Add<'a> {
    gradients: tensor::Gradients,
    path: NamePath,
    sums: &'a mut BTreeMap<String, Tensor<1>>,
}

impl ModuleVisitor for Add<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = param.val().grad_remove(&mut self.gradients) else { return };
        let gradient = flat(gradient);
        let name = self.path.name();
        let sum = match self.sums.remove(&name) {
            Some(sum) => sum + gradient,
            None => gradient,
        };
        self.sums.insert(name, sum);
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
}

/// The optimizer's memory: the moments of every parameter, by name.
#[derive(Debug, Clone, Default)]
pub struct Optimizer {
    /// Moments by parameter name; none before the first step.
    pub moments: BTreeMap<String, Moments>,
}

impl Optimizer {
    /// One step on every parameter that has a gradient. `norm` is that of the gradients; they are
    /// scaled down to `clip_norm` where they are longer.
    pub fn step(
        &mut self,
        model: Transformer,
        gradients: Gradients,
        norm: &Norm,
        config: &OptimizerConfig,
        learning_rate: f64,
        step: u64,
    ) -> Transformer {
        let gradient_scale = if config.clip_norm > 0.0 {
            GradientScale::clipping(norm, config.clip_norm, CLIP_EPSILON)
        } else {
            GradientScale::By(1.0)
        };
        let adamw = AdamW {
            learning_rate,
            beta1: config.beta1,
            beta2: config.beta2,
            epsilon: config.epsilon,
            weight_decay: config.weight_decay,
            step,
        };
        let mut take = Take {
            path: NamePath::default(),
            gradients: gradients.0,
            moments: &mut self.moments,
            names: Vec::new(),
            parameters: Vec::new(),
        };
        let model = model.map(&mut take);
        let (names, parameters) = (take.names, take.parameters);
        let mut put = Put { path: NamePath::default(), values: BTreeMap::new() };
        for (name, (value, moments)) in names.into_iter().zip(adamw_step(parameters, &gradient_scale, &adamw))
        {
            self.moments.insert(name.clone(), moments);
            put.values.insert(name, value);
        }
        model.map(&mut put)
    }
}

/// Takes every parameter that has a gradient out of a model, so that nobody else holds it during the step.
struct Take<'a> {
    path: NamePath,
    gradients: BTreeMap<String, Tensor<1>>,
    moments: &'a mut BTreeMap<String, Moments>,
    names: Vec<String>,
    parameters: Vec<Parameter>,
}

impl ModuleMapper for Take<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.name();
        let Some(gradient) = self.gradients.remove(&name) else { return param };
        let moments = self.moments.remove(&name);
        self.names.push(name);
        param.map(|tensor| {
            let (shape, device) = (tensor.dims(), tensor.device());
            let value = flat(tensor.without_autodiff());
            self.parameters.push(Parameter { value, gradient, moments });
            // Keeps the shape, not the numbers.
            Tensor::<D>::zeros([1; D], &device).expand(shape)
        })
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
}

/// Puts parameters back.
struct Put {
    path: NamePath,
    values: BTreeMap<String, Tensor<1>>,
}

impl ModuleMapper for Put {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(value) = self.values.remove(&self.path.name()) else { return param };
        param.map(|place| Tensor::from_inner(value.reshape(place.shape())).require_grad())
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
}

fn flat<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let elements = tensor.shape().num_elements();
    tensor.reshape([elements])
}
