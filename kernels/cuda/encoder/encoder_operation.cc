#include "kernels/cuda/encoder/encoder.h"

namespace fmaserver::kernels::cuda {
namespace {

/// Of fine groups counted through; that of all of them: all rows.
int64_t FirstRowOf(const AttentionSpec& spec, const EncoderPlan& plan, int64_t block) {
  if (block == plan.Groups(0)) return plan.rows();
  const EncoderPlan::Group group = plan.GroupAt(0, block);
  return plan.FirstRow(group.sequence) + group.index * spec.hierarchy.group_size;
}

}  // namespace

EncoderOperation MakeEncoderOperation(const DeviceAttention& attention, const EncoderPlan& plan,
                                      const int64_t* numbers, const BothWays& work,
                                      const EncoderTasks& tasks) {
  EncoderOperation operation;
  operation.step = tasks.step;
  EncoderParameters& parameters = operation.parameters;
  parameters.attention = attention;
  parameters.at = plan.at();
  parameters.numbers = numbers;
  parameters.layout = EncoderMemoryLayout(attention.spec, plan.places());
  parameters.memory = reinterpret_cast<float*>(work.workspace->data);
  parameters.rows = work.qkv.rows;
  parameters.qkv = work.qkv.data;
  parameters.out = work.out.data;
  parameters.level = tasks.level;
  parameters.first = tasks.first;
  parameters.count = tasks.count;
  if (tasks.step == EncoderStep::kKeys) {
    parameters.first = FirstRowOf(attention.spec, plan, tasks.first);
    parameters.count =
        FirstRowOf(attention.spec, plan, tasks.first + tasks.count) - parameters.first;
  }
  return operation;
}

}  // namespace fmaserver::kernels::cuda
