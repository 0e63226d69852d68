// Where an encoder's keys and queries stand: rotary positions of tokens and of shares.
#pragma once

#include "kernels/cpu/encoder_attention.h"
#include "kernels/cpu/thread_pool.h"

namespace fmaserver::kernels::cpu {

/// Finishes the summaries once all levels are made: sums become averages, those of queries are
/// scaled, and keys and queries are rotated by the centres of their shares.
void PlaceSummaries(ThreadPool& pool, const EncoderWork& work);

/// Makes EncoderWork::Rotation(), and rotates the tokens' keys. Without rotary positions it does
/// nothing.
void RotateKeys(ThreadPool& pool, const EncoderWork& work);

}  // namespace fmaserver::kernels::cpu
