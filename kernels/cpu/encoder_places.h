// Where an encoder's keys and queries stand: rotary positions of tokens and of shares.
#pragma once

#include "kernels/cpu/encoder_attention.h"

namespace fmaserver::kernels::cpu {

/// Finishes the summaries of a group once all levels are made: sums become averages, those of
/// queries are scaled, and keys and queries are rotated by the centres of their shares. `rotation`
/// [d] is scratch.
void PlaceSummaries(const EncoderWork& work, int level, EncoderPlan::Group group, float* rotation);

/// Rotates the keys of a fine group's tokens by EncoderWork::Rotation(), which are made.
void RotateKeys(const EncoderWork& work, EncoderPlan::Group block);

}  // namespace fmaserver::kernels::cpu
