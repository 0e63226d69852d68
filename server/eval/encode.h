// What fma-eval does with an encoder: logits at every position, and the embedding of the text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "model_loader/checkpoint.h"
#include "server/engine/encoder.h"

namespace fmaserver::eval {

struct EncodeOptions {
  int64_t context = 0;  ///< tokens of a window, each a text of its own; 0: all in one
  std::string device = "auto";
  int threads = 0;
  engine::EncoderOptions encoder;
  std::filesystem::path logits_file;     ///< [n, V]; empty: none
  std::filesystem::path embedding_file;  ///< [windows, D]; empty: none
  int64_t hide_every = 0;                ///< stride of PseudoLosses(); 0: none
  std::filesystem::path losses_file;     ///< [n], with hide_every; empty: none
};

/// Reads the tokens, one or more, writes the files and prints how much and how fast.
absl::Status Encode(const model::Checkpoint& checkpoint, std::span<const int32_t> tokens,
                    const EncodeOptions& options);

}  // namespace fmaserver::eval
