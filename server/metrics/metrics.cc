#include "server/metrics/metrics.h"

#include <prometheus/family.h>
#include <prometheus/metric_family.h>

#include <utility>

#include "absl/status/status.h"
#include "server/metrics/state_bytes.h"

namespace fmaserver::metrics {
namespace {

constexpr const char* kReasonLabels[] = {"eos", "stop", "length", "time_limit"};
static_assert(static_cast<size_t>(engine::FinishReason::kEos) == 0);
static_assert(static_cast<size_t>(engine::FinishReason::kStopSequence) == 1);
static_assert(static_cast<size_t>(engine::FinishReason::kLength) == 2);
static_assert(static_cast<size_t>(engine::FinishReason::kTimeLimit) == 3);

constexpr const char* kRejections[] = {"invalid", "queue_full", "draining", "session",
                                       "archive_full"};
static_assert(static_cast<size_t>(engine::Rejection::kInvalid) == 0);
static_assert(static_cast<size_t>(engine::Rejection::kQueueFull) == 1);
static_assert(static_cast<size_t>(engine::Rejection::kDraining) == 2);
static_assert(static_cast<size_t>(engine::Rejection::kSession) == 3);
static_assert(static_cast<size_t>(engine::Rejection::kArchiveFull) == 4);

}  // namespace

Metrics::Metrics(const ModelFacts& facts, Now now)
    : model_name_(facts.name),
      slots_(facts.slots),
      now_(std::move(now)),
      last_step_(now_()),
      registry_(std::make_shared<prometheus::Registry>()),
      running_(AddGauge("fma_requests_running", "Sequences that hold a slot.")),
      waiting_(AddGauge("fma_requests_waiting", "Requests that wait for a slot.")),
      slots_used_(AddGauge("fma_slots_used", "Cache slots in use.")),
      slots_utilization_(AddGauge("fma_slots_utilization", "Cache slots in use, 0 to 1.")),
      prompt_tokens_unread_(
          AddGauge("fma_prompt_tokens_unread",
                   "Prompt tokens of running and waiting requests, still to be read.")),
      last_step_age_(AddGauge("fma_last_step_age_seconds",
                              "Since the engine's last step ended, or since it started.")),
      cache_bytes_(AddGauge("fma_prefix_cache_bytes", "Snapshots held by the prefix cache.")),
      archive_bytes_(AddGauge("fma_archive_bytes",
                              "Archives of sequences, held and reserved: tokens and sketches.")),
      archive_budget_bytes_(AddGauge("fma_archive_budget_bytes",
                                     "What all archives together may take; 0: there are none.")),
      prompt_tokens_(AddCounter("fma_prompt_tokens_total",
                                "Prompt tokens read; those found in the prefix cache are not.")),
      generated_tokens_(AddCounter("fma_generated_tokens_total", "Tokens generated.")),
      cache_queries_(AddCounter("fma_prefix_cache_query_tokens_total",
                                "Prompt tokens looked up in the prefix cache.")),
      cache_hits_(AddCounter("fma_prefix_cache_hit_tokens_total",
                             "Prompt tokens found in the prefix cache.")),
      cancelled_(AddCounter("fma_requests_cancelled_total",
                            "Requests ended by their client or its deadline.")),
      failed_(CounterFamily("fma_requests_failed_total",
                            "Accepted requests that ended with an error, by status code.")),
      rejected_(CounterFamily("fma_requests_rejected_total",
                              "Requests that were refused at once, by reason.")),
      first_token_(AddHistogram("fma_time_to_first_token_seconds",
                                "From a request's arrival to its first token.",
                                RequestSecondsBuckets())),
      end_to_end_(AddHistogram("fma_e2e_request_latency_seconds",
                               "From a request's arrival to its end.", RequestSecondsBuckets())),
      queue_(
          AddHistogram("fma_request_queue_seconds", "Wait for a slot.", RequestSecondsBuckets())),
      prefill_(AddHistogram("fma_request_prefill_seconds", "Reading the prompt.",
                            RequestSecondsBuckets())),
      decode_(AddHistogram("fma_request_decode_seconds", "From the first token to the last.",
                           RequestSecondsBuckets())),
      request_prompt_tokens_(
          AddHistogram("fma_request_prompt_tokens", "Prompt of a request.", TokenBuckets())),
      request_generated_tokens_(
          AddHistogram("fma_request_generated_tokens", "Output of a request.", TokenBuckets())),
      context_length_(AddHistogram("fma_context_length_tokens",
                                   "Prompt and output of a request at its end.", TokenBuckets())),
      step_seconds_(AddHistogram("fma_step_seconds", "One step of the engine: a batch of rows.",
                                 StepSecondsBuckets())),
      step_decode_rows_(
          AddHistogram("fma_step_decode_rows", "Sequences decoding in a step.", RowBuckets())),
      step_prompt_tokens_(
          AddHistogram("fma_step_prompt_tokens", "Prompt tokens read in a step.", RowBuckets())) {
  auto& finished =
      CounterFamily("fma_requests_finished_total", "Requests that ended well, by finish reason.");
  for (size_t i = 0; i < kFinishReasons; ++i) {
    finished_[i] = &finished.Add({{"reason", kReasonLabels[i]}});
  }
  without_reason_ = &finished.Add({{"reason", facts.without_reason}});
  auto& next_token = HistogramFamily("fma_inter_token_latency_seconds",
                                     "Between two tokens of a sequence, by context length.");
  for (size_t i = 0; i < kContextBuckets.size(); ++i) {
    next_token_[i] = &next_token.Add({{"context", kContextBuckets[i].label}}, StepSecondsBuckets());
  }
  for (const char* reason : kRejections) rejected_.Add({{"reason", reason}});
  for (const char* code : {"INTERNAL", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}) {
    failed_.Add({{"code", code}});
  }
  SetFacts(facts);
}

void Metrics::SetFacts(const ModelFacts& facts) {
  AddGauge("fma_slots", "Cache slots.").Set(facts.slots);
  AddGauge("fma_weights_bytes", "Weights of the model in the formats in which they are loaded.")
      .Set(static_cast<double>(facts.weight_bytes));
  auto& state = prometheus::BuildGauge()
                    .Name("fma_state_bytes")
                    .Help("Memory of all cache slots, by what it holds.")
                    .Labels(ModelLabel())
                    .Register(*registry_);
  const StateBytes bytes = StateBytesOf(facts.layout);
  const auto set = [&](const char* kind, int64_t slot_bytes) {
    state.Add({{"kind", kind}}).Set(static_cast<double>(slot_bytes) * facts.slots);
  };
  set("near_field", bytes.near_field);
  set("sinks", bytes.sinks);
  set("far", bytes.far);
  set("sums", bytes.sums);
  set("padding", bytes.padding);
}

void Metrics::Watch(const std::shared_ptr<const engine::ArchivePool>& archives) {
  archives_ = archives;
  if (archives != nullptr) {
    archive_budget_bytes_.Set(static_cast<double>(archives->budget_bytes()));
  }
}

std::vector<prometheus::MetricFamily> Metrics::Collect() const {
  // Now, for an engine that is stuck reports nothing.
  last_step_age_.Set(SecondsBetween(last_step_, now_()));
  if (const auto archives = archives_.lock()) {
    archive_bytes_.Set(static_cast<double>(archives->used_bytes()));
  }
  return registry_->Collect();
}

void Metrics::OnStep(const engine::StepReport& step) {
  last_step_ = now_();
  step_seconds_.Observe(step.seconds);
  step_decode_rows_.Observe(step.decode_rows);
  step_prompt_tokens_.Observe(step.prompt_tokens);
  prompt_tokens_.Increment(step.prompt_tokens);
}

void Metrics::OnLoad(const engine::LoadReport& load) {
  running_.Set(load.running);
  slots_used_.Set(load.running);
  slots_utilization_.Set(load.running / static_cast<double>(slots_));
  prompt_tokens_unread_.Set(static_cast<double>(load.prompt_tokens));
  waiting_.Set(load.waiting);
  cache_bytes_.Set(static_cast<double>(load.cache_bytes));
}

void Metrics::OnFirstToken(double seconds) {
  generated_tokens_.Increment();
  first_token_.Observe(seconds);
}

void Metrics::OnNextToken(double seconds, int64_t position) {
  generated_tokens_.Increment();
  next_token_[ContextBucketOf(position)]->Observe(seconds);
}

void Metrics::OnCacheLookup(int64_t prompt_tokens, int64_t cached_tokens) {
  cache_queries_.Increment(static_cast<double>(prompt_tokens));
  cache_hits_.Increment(static_cast<double>(cached_tokens));
}

void Metrics::OnEnd(const engine::EndReport& end) {
  if (end.code == absl::StatusCode::kCancelled) return cancelled_.Increment();
  if (end.code != absl::StatusCode::kOk) {
    return failed_.Add({{"code", absl::StatusCodeToString(end.code)}}).Increment();
  }
  const auto prompt = static_cast<double>(end.usage.prompt_tokens);
  const auto generated = static_cast<double>(end.usage.generated_tokens);
  end_to_end_.Observe(end.end_to_end_seconds);
  queue_.Observe(end.usage.queue_seconds);
  prefill_.Observe(end.usage.prefill_seconds);
  request_prompt_tokens_.Observe(prompt);
  context_length_.Observe(prompt + generated);
  if (!end.reason) return without_reason_->Increment();
  finished_[static_cast<size_t>(*end.reason)]->Increment();
  decode_.Observe(end.usage.decode_seconds);
  request_generated_tokens_.Observe(generated);
}

void Metrics::OnRejected(engine::Rejection why) {
  rejected_.Add({{"reason", kRejections[static_cast<size_t>(why)]}}).Increment();
}

prometheus::Family<prometheus::Counter>& Metrics::CounterFamily(const char* name,
                                                                const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Labels(ModelLabel()).Register(*registry_);
}

prometheus::Counter& Metrics::AddCounter(const char* name, const char* help) {
  return CounterFamily(name, help).Add({});
}

prometheus::Gauge& Metrics::AddGauge(const char* name, const char* help) {
  return prometheus::BuildGauge()
      .Name(name)
      .Help(help)
      .Labels(ModelLabel())
      .Register(*registry_)
      .Add({});
}

prometheus::Family<prometheus::Histogram>& Metrics::HistogramFamily(const char* name,
                                                                    const char* help) {
  return prometheus::BuildHistogram()
      .Name(name)
      .Help(help)
      .Labels(ModelLabel())
      .Register(*registry_);
}

prometheus::Histogram& Metrics::AddHistogram(const char* name, const char* help,
                                             const Histogram::BucketBoundaries& buckets) {
  return HistogramFamily(name, help).Add({}, buckets);
}

}  // namespace fmaserver::metrics
