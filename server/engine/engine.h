// The engine: one thread that owns the model, the cache slots and every live request.
//
// Each pass of its loop is one step: a decode row of every running request, and slices of the
// prompts being read, which share the step's token budget, so that a long prompt never stops the
// other requests. Other threads talk to it through Submit and Cancel and are answered through
// sinks.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/retry.h"
#include "model_loader/tokenizer.h"
#include "server/engine/archive_pool.h"
#include "server/engine/engine_options.h"
#include "server/engine/generate_sequence.h"
#include "server/engine/model.h"
#include "server/engine/observer.h"
#include "server/engine/parking.h"
#include "server/engine/prefix_cache.h"
#include "server/engine/request.h"
#include "server/engine/request_queue.h"
#include "server/engine/request_runner.h"
#include "server/engine/sequence.h"
#include "server/engine/slot_pool.h"
#include "server/engine/stall_timer.h"
#include "server/engine/step_runner.h"

namespace fmaserver::engine {

/// Thread-safe. The destructor cancels what is still running.
class Engine final : public RequestRunner {
 public:
  /// Rows that the model must take in one step: a decode row per slot and the prompt budget.
  static constexpr int32_t MaxRows(const EngineOptions& options) {
    return options.num_slots + options.step_tokens;
  }

  /// `tokenizer` may be null; deltas then carry no text. `observer` may be null. INVALID_ARGUMENT
  /// for options out of range or a model with fewer than MaxRows(options) rows; RESOURCE_EXHAUSTED
  /// when the slots do not fit; the errors of ArchivePool::Create.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(
      std::unique_ptr<Model> model, std::shared_ptr<const model::Tokenizer> tokenizer,
      const EngineOptions& options, std::shared_ptr<EngineObserver> observer = nullptr);
  ~Engine() override;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Validates and queues. INVALID_ARGUMENT names field, value and range; RESOURCE_EXHAUSTED when
  /// the queue is full, with kRetryAfterSeconds, or when the archive that the request may need does
  /// not fit (ArchivePool::Reserve); UNAVAILABLE after Drain. On error the sink is never called;
  /// otherwise it may be called before Submit returns.
  absl::StatusOr<RequestId> Submit(GenerateRequest request, std::shared_ptr<GenerateSink> sink);
  absl::StatusOr<RequestId> Submit(ScoreRequest request, std::shared_ptr<ScoreSink> sink);
  /// Whether Submit may wait for a disk.
  bool SubmitMayWait() const { return archives_ != nullptr && archives_->MayWait(); }

  absl::Status CheckAdmission() override;
  void CountRejection(Rejection why) override { observer_->OnRejected(why); }
  bool IsFull() const override { return queue_.IsFull(); }
  void Cancel(RequestId id) override { queue_.Cancel(id); }
  void Wake() override { queue_.Wake(); }

  /// What does not end within `grace` is interrupted: OnInterrupted for requests with keep_state,
  /// else UNAVAILABLE.
  void Drain(absl::Duration grace) override { queue_.Drain(grace); }

  const Model& model() const { return *model_; }
  /// How sessions keep the states of their turns.
  const Parking& parking() const { return parking_; }
  /// Null when all requests are served in constant memory.
  const std::shared_ptr<ArchivePool>& archives() const { return archives_; }
  const model::ModelConfig& config() const override { return model_->config(); }
  const std::shared_ptr<const model::Tokenizer>& tokenizer() const override { return tokenizer_; }
  const EngineOptions& options() const { return options_; }

  LoadReport Load() const override;

  /// Slots that no request holds right now.
  int32_t FreeSlots() const { return options_.num_slots - Load().running; }

  bool DeviceFailed() const override { return device_failed_; }

 private:
  /// A sequence that holds a slot.
  struct Running {
    std::unique_ptr<Sequence> sequence;
    StallTimer reader = {};
  };
  using Feeds = std::span<const StepRunner::Feed>;
  /// Sequences that are over and have told their sinks.
  using Ended = std::vector<const Sequence*>;

  Engine(std::unique_ptr<Model> model, std::shared_ptr<const model::Tokenizer> tokenizer,
         const EngineOptions& options, Parking parking, std::unique_ptr<SlotPool> slots,
         std::shared_ptr<ArchivePool> archives, std::shared_ptr<EngineObserver> observer);

  /// An empty archive with `groups` blank ones.
  absl::StatusOr<SequenceArchive> ReserveArchive(const std::string& tenant, int64_t groups);
  absl::StatusOr<SequenceArchive> ReserveArchive(const GenerateRequest& request);
  absl::StatusOr<SequenceArchive> ReserveArchive(const ScoreRequest& request);
  absl::StatusOr<RequestId> Enqueue(std::unique_ptr<Sequence> sequence);
  absl::StatusOr<RequestId> Refuse(absl::Status status);
  absl::StatusOr<RequestId> Refuse(absl::Status status, Rejection why);

  // The loop's thread.
  void Run();
  bool TakeOrders();
  void End(RequestQueue::Orders orders);
  void Admit();
  void Start(std::unique_ptr<Sequence> sequence);
  void StartForks(Sequence& parent);
  void StartFork(const Sequence& parent, int32_t index);
  void DropStalled();
  void Step();
  std::vector<StepRunner::Feed> Plan() const;
  Ended Advance(Feeds feeds, std::span<const StepOutcome> outcomes);
  Ended Fail(Feeds feeds, const absl::Status& status);
  void Retire(const Ended& finished);
  void PublishLoad();

  const std::unique_ptr<Model> model_;
  const std::shared_ptr<const model::Tokenizer> tokenizer_;
  const EngineOptions options_;
  const Parking parking_;
  const std::shared_ptr<EngineObserver> observer_;
  RequestQueue queue_;

  const std::shared_ptr<ArchivePool> archives_;
  const std::shared_ptr<PrefixCache> cache_;  // its archives are the first to go

  // The loop's thread alone.
  const std::unique_ptr<SlotPool> slots_;
  const SequenceContext context_;
  StepRunner runner_;
  std::vector<Running> running_;

  // Written by the loop's thread.
  std::atomic<int64_t> prompt_tokens_ = 0;    // of running_ that are not read yet
  std::atomic<Clock::time_point> last_step_;  // or the engine's start
  std::atomic<bool> device_failed_ = false;

  std::thread thread_;
};

}  // namespace fmaserver::engine
