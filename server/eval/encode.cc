#include "server/eval/encode.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "base/clock.h"
#include "command_line/output.h"
#include "kernels/device.h"
#include "server/eval/npy_writer.h"
#include "server/eval/pseudo_likelihood.h"

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
    if (!options_.losses_file.empty()) {
      auto writer = NpyWriter::Create(options_.losses_file, {tokens});
      if (!writer.ok()) return writer.status();
      losses_ = *std::move(writer);
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
    absl::Status status = WriteLogits(*encoding);
    if (status.ok()) status = Guess(window);
    if (!status.ok()) return status;
    if (embedding_.has_value()) embedding_->Append(encoding->Embedding(0));
    return absl::OkStatus();
  }

  absl::Status Close() {
    absl::Status status = logits_.has_value() ? logits_->Close() : absl::OkStatus();
    if (embedding_.has_value()) status.Update(embedding_->Close());
    if (losses_.has_value()) status.Update(losses_->Close());
    return status;
  }

  /// Without what the files take.
  double seconds() const { return seconds_; }
  /// Of all tokens, each hidden once; with hide_every.
  double nats() const { return nats_; }

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

  absl::Status Guess(std::span<const int32_t> window) {
    if (options_.hide_every == 0) return absl::OkStatus();
    const auto losses = PseudoLosses(encoder_, window, options_.hide_every);
    if (!losses.ok()) return losses.status();
    for (const float loss : *losses) nats_ += loss;
    if (losses_.has_value()) losses_->Append(*losses);
    return absl::OkStatus();
  }

  engine::Encoder& encoder_;
  const EncodeOptions& options_;
  std::optional<NpyWriter> logits_;
  std::optional<NpyWriter> embedding_;
  std::optional<NpyWriter> losses_;
  double seconds_ = 0;
  double nats_ = 0;
};

/// "" without a tokenizer, or where tokens have no bytes.
std::string BitsPerByte(const model::Tokenizer* tokenizer, std::span<const int32_t> tokens,
                        double bits) {
  if (tokenizer == nullptr) return {};
  int64_t bytes = 0;
  for (const int32_t token : tokens) bytes += std::ssize(tokenizer->TokenBytes(token));
  return bytes == 0 ? "" : absl::StrFormat("pseudo-bits per byte  %.6f\n", bits / bytes);
}

}  // namespace

absl::Status Encode(const model::Checkpoint& checkpoint, std::span<const int32_t> tokens,
                    const EncodeOptions& options) {
  absl::StatusOr<kernels::ChosenBackend> device =
      kernels::MakeBackend(options.device, options.threads);
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
  if (options.hide_every > 0) {
    const double bits = windows.nats() / std::log(2.0);
    WriteOutput(BitsPerByte(checkpoint.tokenizer().get(), tokens, bits));
    WriteOutput(absl::StrFormat("pseudo-perplexity     %.4f\n",
                                std::exp(windows.nats() / static_cast<double>(total))));
  }
  WriteOutput(absl::StrFormat("tokens          %d\ntokens/s        %.1f\nmemory bytes    %d\n",
                              total, static_cast<double>(total) / windows.seconds(),
                              (*encoder)->BytesFor({&length, 1})));
  return absl::OkStatus();
}

}  // namespace fmaserver::eval
