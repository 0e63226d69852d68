// The engine of an encoder: one thread that owns the model and every live request.
//
// Texts are read in two lanes, a piece of each in turn: batches of short texts, whoever sent them,
// and one long text at a time, so that a text of minutes never stops those of moments. What both
// lanes hold is known before they begin, and a text that could never fit is refused at once.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "server/engine/encode_job.h"
#include "server/engine/encoder.h"
#include "server/engine/engine_options.h"
#include "server/engine/request_queue.h"
#include "server/engine/request_runner.h"
#include "server/engine/stall_timer.h"

namespace fmaserver::engine {

/// Thread-safe. The destructor cancels what is still running.
class EncoderEngine final : public RequestRunner {
 public:
  /// A longer text is a long one, and a batch of short ones has no more tokens than this.
  static constexpr int64_t kBatchTokens = 2048;
  static constexpr size_t kBatchTexts = 64;

  /// `tokenizer` and `observer` may be null. Of `options` num_slots is how many requests are read
  /// at once. INVALID_ARGUMENT for options out of range, also when encoder_bytes have no room for
  /// both lanes.
  static absl::StatusOr<std::unique_ptr<EncoderEngine>> Create(
      std::unique_ptr<Encoder> encoder, std::shared_ptr<const model::Tokenizer> tokenizer,
      const EngineOptions& options, std::shared_ptr<EngineObserver> observer = nullptr);
  ~EncoderEngine() override;
  EncoderEngine(const EncoderEngine&) = delete;
  EncoderEngine& operator=(const EncoderEngine&) = delete;

  /// Validates and queues. INVALID_ARGUMENT names field, value and range; RESOURCE_EXHAUSTED when
  /// the queue is full, with kRetryAfterSeconds; UNAVAILABLE after Drain. On error the sink is
  /// never called; otherwise it may be called before Submit returns.
  absl::StatusOr<RequestId> Submit(EncodeRequest request, std::shared_ptr<EncodeSink> sink);

  /// The longest text: what the model has learned, and what encoder_bytes have room for.
  int64_t MaxTokens() const { return max_tokens_; }

  absl::Status CheckAdmission() override;
  void CountRejection(Rejection why) override { observer_->OnRejected(why); }
  bool IsFull() const override { return queue_.IsFull(); }
  void Cancel(RequestId id) override { queue_.Cancel(id); }
  void Wake() override { queue_.Wake(); }
  void Drain(absl::Duration grace) override { queue_.Drain(grace); }
  LoadReport Load() const override;
  bool DeviceFailed() const override { return device_failed_; }
  const model::ModelConfig& config() const override { return encoder_->config(); }
  const std::shared_ptr<const model::Tokenizer>& tokenizer() const override { return tokenizer_; }

  const Encoder& encoder() const { return *encoder_; }
  const EngineOptions& options() const { return options_; }

 private:
  struct Running {
    std::unique_ptr<EncodeJob> job;
    StallTimer reader = {};
  };
  /// A text that is read; null: its job has ended meanwhile.
  struct Pick {
    EncodeJob* job = nullptr;
    int64_t index = 0;
  };
  /// Texts that are read together.
  struct Lane {
    std::vector<Pick> picks;
    std::optional<Encoding> encoding;
  };
  enum LaneOf : uint8_t { kShort, kLong };

  EncoderEngine(std::unique_ptr<Encoder> encoder, std::shared_ptr<const model::Tokenizer> tokenizer,
                const EngineOptions& options, std::shared_ptr<EngineObserver> observer);

  absl::Status Validate(const EncodeRequest& request) const;
  absl::Status ValidateMasks(const EncodeRequest& request) const;
  absl::StatusOr<RequestId> Refuse(absl::Status status);

  // The loop's thread.
  void Run();
  bool TakeOrders();
  void End(EncodeQueue::Orders orders);
  void DropStalled();
  void Admit();
  void ReadOn(LaneOf which);
  void Begin(Lane& lane, std::vector<Pick> picks);
  std::vector<Pick> PickShort() const;
  std::vector<Pick> PickLong() const;
  bool Fits(std::vector<int64_t>& lengths, int64_t more) const;
  void Report(Lane& lane);
  absl::StatusOr<EncodedText> ResultOf(const Encoding& encoding, int64_t text, const Pick& pick);
  absl::Status FillMasks(const Encoding& encoding, int64_t text, const Pick& pick,
                         std::vector<FilledMask>& masks);
  void Fail(Lane& lane, const absl::Status& status);
  /// Takes jobs that are over out of everything.
  void Retire(std::span<EncodeJob* const> ended);
  void PublishLoad();

  const std::unique_ptr<Encoder> encoder_;
  const std::shared_ptr<const model::Tokenizer> tokenizer_;
  const EngineOptions options_;
  const std::shared_ptr<EngineObserver> observer_;
  const int64_t batch_bytes_;  // of the lane for short texts
  const int64_t max_tokens_;
  EncodeQueue queue_;

  // The loop's thread alone.
  std::vector<Running> running_;
  std::array<Lane, 2> lanes_;

  // Written by the loop's thread.
  std::atomic<int64_t> prompt_tokens_ = 0;
  std::atomic<Clock::time_point> last_step_;
  std::atomic<bool> device_failed_ = false;

  std::thread thread_;
};

}  // namespace fmaserver::engine
