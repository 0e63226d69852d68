// The engine: one thread that owns the model, the cache slots and every live request.
//
// Each turn of its loop is one step: a decode row of every running request, and slices of the
// prompts being read that share the step's token budget, so that a long prompt never stops the
// others. Other threads talk to it through Submit and Cancel and are answered through sinks.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/retry.h"
#include "model_loader/tokenizer.h"
#include "server/engine/generate_sequence.h"
#include "server/engine/model.h"
#include "server/engine/observer.h"
#include "server/engine/prefix_cache.h"
#include "server/engine/request.h"
#include "server/engine/sequence.h"
#include "server/engine/slot_pool.h"

namespace fmaserver::engine {

struct EngineOptions {
  int32_t num_slots = 64;     ///< sequences that run at once
  int32_t max_queue = 256;    ///< requests that may wait for a slot
  int32_t step_tokens = 256;  ///< prompt tokens of one step, all requests together
  int64_t prefix_cache_bytes = int64_t{512} << 20;  ///< for states of prompts; 0: none are kept
  double max_stall_seconds = 60;  ///< how long a reader may be behind before its request ends
};

/// Thread-safe. Destruction cancels what is still running.
class Engine {
 public:
  /// Rows that the model must take in one step: a decode row per slot and the prompt budget.
  static int32_t MaxRows(const EngineOptions& options) {
    return options.num_slots + options.step_tokens;
  }

  /// `tokenizer` may be null: then deltas carry no text. `observer` may be null. INVALID_ARGUMENT
  /// for options out of range or a model with fewer than MaxRows(options) rows; RESOURCE_EXHAUSTED
  /// when the slots do not fit.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(
      std::unique_ptr<Model> model, std::shared_ptr<const model::Tokenizer> tokenizer,
      EngineOptions options, std::shared_ptr<EngineObserver> observer = nullptr);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Validates and queues. INVALID_ARGUMENT names field, value and range; RESOURCE_EXHAUSTED when
  /// the queue is full, with kRetryAfterSeconds; UNAVAILABLE after Drain. On error the sink is
  /// never called; otherwise it may be called before Submit returns.
  absl::StatusOr<RequestId> Submit(GenerateRequest request, std::shared_ptr<GenerateSink> sink);
  absl::StatusOr<RequestId> Submit(ScoreRequest request, std::shared_ptr<ScoreSink> sink);

  /// Ends a request within one step: its sink gets OnError(CANCELLED) unless it had finished.
  void Cancel(RequestId id);

  /// A sink that had no room has some again.
  void Wake();

  /// Refuses new work, waits up to `grace` for the running requests, then interrupts the rest:
  /// OnInterrupted for those with keep_state, else UNAVAILABLE. Returns when none is left.
  void Drain(absl::Duration grace);

  const Model& model() const { return *model_; }
  const model::Tokenizer* tokenizer() const { return tokenizer_.get(); }
  const EngineOptions& options() const { return options_; }

  /// Slots that no request holds right now.
  int32_t FreeSlots() const;

  /// Whether the device was lost under a step: no later one will do better. Any thread.
  bool DeviceFailed() const { return device_failed_; }

 private:
  using Sequences = std::vector<std::unique_ptr<Sequence>>;
  /// By priority, then in order of arrival; the samples of one request stay together.
  using Queue = std::multimap<std::pair<int32_t, RequestId>, std::unique_ptr<Sequence>>;

  Engine(std::unique_ptr<Model> model, std::shared_ptr<const model::Tokenizer> tokenizer,
         EngineOptions options, std::unique_ptr<SlotPool> slots,
         std::shared_ptr<EngineObserver> observer);

  RequestId NextId();
  absl::StatusOr<RequestId> Refuse(absl::Status status);
  absl::StatusOr<RequestId> Enqueue(std::unique_ptr<Sequence> sequence);
  absl::Status QueueFull() const;

  // The loop's thread.
  void Run();
  bool CollectWork();
  void WaitForWork(std::unique_lock<std::mutex>& lock);
  void PublishLoad();
  Sequences TakeDropped();
  Sequences TakeAdmitted();
  void Start(std::unique_ptr<Sequence> sequence);
  void StartForks(Sequence& parent);
  bool MayStart(const Sequence& fork) const;
  void DropStalled();
  void Step();
  std::vector<kernels::RowSampling> Choices(std::span<const StepSegment> segments) const;
  std::vector<const Sequence*> Advance(std::span<const StepSegment> segments,
                                       const absl::StatusOr<kernels::Matrix>& logits);
  std::vector<StepSegment> ComposeStep();
  std::vector<Sequence*> ReadyByPriority() const;
  void Retire(const std::vector<const Sequence*>& finished);

  const std::unique_ptr<Model> model_;
  const std::shared_ptr<const model::Tokenizer> tokenizer_;
  const EngineOptions options_;
  const std::shared_ptr<EngineObserver> observer_;
  const std::unique_ptr<SlotPool> slots_;
  PrefixCache cache_;  // the loop's thread alone
  const SequenceContext context_;
  Sequences running_;               // the loop's thread alone; each holds a slot
  int32_t num_admitted_ = 0;        // taken from the queue and not started yet
  std::vector<Sequence*> stepped_;  // whose segments the current step holds, in its order
  std::vector<kernels::SampledRow>
      sampled_;  // what the backend chose in it, for every row of logits

  std::atomic<bool> device_failed_ = false;

  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable idle_;
  Queue waiting_;  // guarded by mutex_, as are all below
  std::vector<RequestId> cancelled_;
  RequestId last_id_ = 0;
  int32_t num_running_ = 0;
  int32_t num_dropped_ = 0;          // taken out, their sinks not told yet
  double mean_service_seconds_ = 1;  // of recent sequences, from slot to end
  bool draining_ = false;
  bool evict_ = false;  // fail whatever is left
  bool stop_ = false;

  std::thread thread_;
};

}  // namespace fmaserver::engine
