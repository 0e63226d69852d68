#include "server/eval/encode.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "base/clock.h"
#include "command_line/output.h"
#include "kernels/device.h"
#include "server/engine/device_choice.h"
#include "server/eval/npy_writer.h"

namespace fmaserver::eval {
namespace {

/// The windows of a run, one after the other, into the files.
class Windows {
 public:
  Windows(engine::Encoder& encoder, const EncodeOptions& options)
      : encoder_(encoder), options_(options) {}

  absl::Status Open(int64_t tokens, int64_t windows) {
    const model::ModelConfig& config = encoder_.config();
    if (!options_.logits_file.empty()) {
      auto writer = NpyWriter::Create(options_.logits_file, {tokens, config.vocab_size});
      if (!writer.ok()) return writer.status();
      logits_ = *std::move(writer);
    }
    if (options_.embedding_file.empty()) return absl::OkStatus();
    auto writer = NpyWriter::Create(options_.embedding_file, {windows, config.hidden_size});
    if (!writer.ok()) return writer.status();
    embedding_ = *std::move(writer);
    return absl::OkStatus();
  }

  absl::Status Read(std::span<const int32_t> window) {
    const auto start = std::chrono::steady_clock::now();
    const absl::StatusOr<engine::Encoding> encoding = encoder_.Encode({&window, 1});
    if (!encoding.ok()) return encoding.status();
    seconds_ += SecondsBetween(start, std::chrono::steady_clock::now());
    if (absl::Status status = WriteLogits(*encoding); !status.ok()) return status;
    if (!embedding_.has_value()) return absl::OkStatus();
    const auto embedding = encoder_.Embedding(*encoding, 0);
    if (!embedding.ok()) return embedding.status();
    embedding_->Append(*embedding);
    return absl::OkStatus();
  }

  absl::Status Close() {
    absl::Status status = logits_.has_value() ? logits_->Close() : absl::OkStatus();
    if (embedding_.has_value()) status.Update(embedding_->Close());
    return status;
  }

  /// Without what the files take.
  double seconds() const { return seconds_; }

 private:
  absl::Status WriteLogits(const engine::Encoding& encoding) {
    if (!logits_.has_value()) return absl::OkStatus();
    const int64_t slice = encoder_.options().slice_rows;
    for (int64_t first = 0; first < encoding.rows(); first += slice) {
      std::vector<int32_t> rows(static_cast<size_t>(std::min(slice, encoding.rows() - first)));
      std::iota(rows.begin(), rows.end(), static_cast<int32_t>(first));
      const auto logits = encoder_.Logits(encoding, rows);
      if (!logits.ok()) return logits.status();
      logits_->Append(*logits);
    }
    return absl::OkStatus();
  }

  engine::Encoder& encoder_;
  const EncodeOptions& options_;
  std::optional<NpyWriter> logits_;
  std::optional<NpyWriter> embedding_;
  double seconds_ = 0;
};

}  // namespace

absl::Status Encode(const model::Checkpoint& checkpoint, std::span<const int32_t> tokens,
                    const EncodeOptions& options) {
  const std::string name = engine::DeviceFor(checkpoint, options.encoder.weights, options.device);
  absl::StatusOr<kernels::ChosenBackend> device = kernels::MakeBackend(name, options.threads);
  if (!device.ok()) return device.status();
  const auto encoder =
      engine::Encoder::Load(checkpoint, std::move(device->backend), options.encoder);
  if (!encoder.ok()) return encoder.status();
  const auto total = static_cast<int64_t>(tokens.size());
  const int64_t length = options.context == 0 ? total : std::min(options.context, total);
  Windows windows(**encoder, options);
  absl::Status status = windows.Open(total, length == 0 ? 0 : (total + length - 1) / length);
  for (int64_t first = 0; (first == 0 || first < total) && status.ok(); first += length) {
    status = windows.Read(tokens.subspan(first, std::min(length, total - first)));
  }
  status.Update(windows.Close());
  if (!status.ok()) return status;
  WriteOutput(absl::StrFormat("tokens          %d\ntokens/s        %.1f\nmemory bytes    %d\n",
                              total, static_cast<double>(total) / windows.seconds(),
                              (*encoder)->BytesFor({&length, 1})));
  return absl::OkStatus();
}

}  // namespace fmaserver::eval
