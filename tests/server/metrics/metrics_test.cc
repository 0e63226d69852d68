#include "server/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <random>
#include <sstream>
#include <string>

#include "server/metrics/exposition.h"
#include "server/metrics/process_metrics.h"
#include "server/metrics/state_bytes.h"

namespace fmaserver::metrics {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::DoubleNear;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::Pair;

kernels::AttentionSpec RandomSpec(std::mt19937& random) {
  const auto draw = [&](int least, int most) {
    return std::uniform_int_distribution(least, most)(random);
  };
  kernels::AttentionSpec spec;
  spec.num_kv_heads = draw(1, 4);
  spec.num_heads = spec.num_kv_heads * draw(1, 3);
  spec.head_dim = 2 * draw(1, 40);
  spec.hierarchy.rank = draw(1, 6);
  spec.hierarchy.group_size = spec.hierarchy.rank * draw(1, 9);
  spec.hierarchy.num_levels = draw(1, 12);
  spec.hierarchy.sink_tokens = draw(0, spec.hierarchy.group_size);
  if (draw(0, 1) == 1) spec.downsampling = kernels::Downsampling::kSelect;
  if (draw(0, 1) == 1) spec.max_distance = spec.hierarchy.group_size * draw(4, 100);
  return spec;
}

ModelFacts Facts() {
  std::mt19937 random(1);
  return {.name = "m",
          .layout = kernels::SlotLayout(RandomSpec(random), 2, kernels::CacheType::kF32),
          .slots = 8,
          .weight_bytes = 1000};
}

/// Series with labels -> value.
std::map<std::string, double> Scrape(const prometheus::Collectable& source) {
  Exposition page;
  const std::shared_ptr<const prometheus::Collectable> held(&source, [](const auto*) {});
  page.Add(held);
  std::istringstream lines(page.Render());
  std::map<std::string, double> series;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with('#')) continue;
    const size_t space = line.rfind(' ');
    series[line.substr(0, space)] = std::stod(line.substr(space + 1));
  }
  return series;
}

std::string Named(const std::string& name) { return name + "{model_name=\"m\"}"; }

std::string Labelled(const std::string& name, const std::string& label, const std::string& value) {
  return name + "{model_name=\"m\"," + label + "=\"" + value + "\"}";
}

TEST(Metrics, EverySeriesIsThereAtZero) {
  const Metrics metrics(Facts());
  const auto series = Scrape(metrics);
  EXPECT_THAT(series, Contains(Pair(Named("fma_requests_running"), 0)));
  EXPECT_THAT(series, Contains(Pair(Labelled("fma_requests_finished_total", "reason", "eos"), 0)));
  for (const ContextBucket& bucket : kContextBuckets) {
    EXPECT_THAT(
        series,
        Contains(
            Pair(Labelled("fma_inter_token_latency_seconds_count", "context", bucket.label), 0)));
  }
}

TEST(Metrics, CountsWhatTheEngineReports) {
  Metrics metrics(Facts());
  metrics.OnLoad({.running = 3, .waiting = 2, .prompt_tokens = 500, .cache_bytes = 77});
  metrics.OnStep({.seconds = 0.0002, .decode_rows = 3, .prompt_tokens = 100});
  metrics.OnFirstToken(0.02);
  metrics.OnNextToken(0.0002, 1023);
  metrics.OnNextToken(0.0002, 1024);
  metrics.OnNextToken(0.0002, int64_t{1} << 20);
  metrics.OnCacheLookup(50, 40);
  metrics.OnRejected(engine::Rejection::kQueueFull);
  metrics.OnRejected(engine::Rejection::kSession);
  engine::EndReport end;
  end.code = absl::StatusCode::kCancelled;
  metrics.OnEnd(end);
  end.code = absl::StatusCode::kInternal;
  metrics.OnEnd(end);
  end.code = absl::StatusCode::kOk;
  end.reason = engine::FinishReason::kLength;
  end.end_to_end_seconds = 3;
  end.usage.prompt_tokens = 100;
  end.usage.generated_tokens = 4;
  end.usage.queue_seconds = 0.5;
  metrics.OnEnd(end);

  metrics.OnEnd(engine::EndReport());  // of a Score

  const auto series = Scrape(metrics);
  const auto expect = [&](const std::string& name, double value) {
    EXPECT_THAT(series, Contains(Pair(name, DoubleNear(value, 1e-9)))) << name;
  };
  expect(Named("fma_requests_running"), 3);
  expect(Named("fma_slots_used"), 3);
  expect(Named("fma_slots_utilization"), 0.375);
  expect(Named("fma_prompt_tokens_unread"), 500);
  expect(Named("fma_requests_waiting"), 2);
  expect(Named("fma_prefix_cache_bytes"), 77);
  expect(Named("fma_prompt_tokens_total"), 100);
  expect(Named("fma_generated_tokens_total"), 4);
  expect(Named("fma_prefix_cache_query_tokens_total"), 50);
  expect(Named("fma_prefix_cache_hit_tokens_total"), 40);
  expect(Labelled("fma_requests_rejected_total", "reason", "queue_full"), 1);
  expect(Named("fma_requests_cancelled_total"), 1);
  expect(Labelled("fma_requests_failed_total", "code", "INTERNAL"), 1);
  expect(Labelled("fma_requests_finished_total", "reason", "length"), 1);
  expect(Labelled("fma_requests_finished_total", "reason", "scored"), 1);
  expect(Labelled("fma_inter_token_latency_seconds_count", "context", "0-1k"), 1);
  expect(Labelled("fma_inter_token_latency_seconds_count", "context", "1k-16k"), 1);
  expect(Labelled("fma_inter_token_latency_seconds_count", "context", "1M+"), 1);
  expect(Named("fma_time_to_first_token_seconds_sum"), 0.02);
  expect(Named("fma_e2e_request_latency_seconds_sum"), 3);
  expect(Named("fma_request_queue_seconds_sum"), 0.5);
  expect(Named("fma_context_length_tokens_sum"), 104);
  expect(Named("fma_step_seconds_count"), 1);
  expect(Named("fma_step_decode_rows_sum"), 3);
}

TEST(Metrics, StateBytesOfEveryLayoutAddUp) {
  std::mt19937 random(7);
  for (int i = 0; i < 2000; ++i) {
    const kernels::AttentionSpec spec = RandomSpec(random);
    constexpr std::array kTypes = {kernels::CacheType::kF32, kernels::CacheType::kBF16,
                                   kernels::CacheType::kInt8};
    const kernels::SlotLayout layout(spec, 3, kTypes[i % kTypes.size()]);
    const StateBytes bytes = StateBytesOf(layout);
    EXPECT_EQ(bytes.near_field + bytes.sinks + bytes.far + bytes.sums + bytes.padding,
              layout.slot_bytes);
    EXPECT_GE(bytes.padding, 0);
    // Tokens that are kept exactly take as much as in an ordinary cache.
    const kernels::Hierarchy& hierarchy = spec.hierarchy;
    EXPECT_EQ(bytes.near_field + bytes.sinks,
              kernels::FullCacheBytesPerToken(layout) *
                  (2 * hierarchy.group_size + hierarchy.sink_tokens));
    const int groups = spec.Selects() ? 2 : 3;
    EXPECT_EQ(bytes.far, kernels::FullCacheBytesPerToken(layout) * groups * hierarchy.num_levels *
                             hierarchy.rank);
  }
}

TEST(ProcessMetrics, ReadsThisProcess) {
  const auto series = Scrape(ProcessMetrics("decode"));
  EXPECT_THAT(series, Contains(Pair("process_open_fds", Ge(3))));
  EXPECT_THAT(series, Contains(Pair("process_threads", Ge(1))));
  EXPECT_THAT(series, Contains(Pair("process_resident_memory_bytes", Ge(1 << 20))));
  const auto now = static_cast<double>(time(nullptr));
  EXPECT_THAT(series, Contains(Pair("process_start_time_seconds",
                                    AllOf(Ge(now - 3600), ::testing::Le(now + 5)))));
  EXPECT_THAT(series, Contains(Key(HasSubstr("fma_build_info"))));
  EXPECT_THAT(series, Contains(Pair(R"(fma_role_info{role="decode"})", 1)));
}

// An engine that is stuck in a step reports nothing, so the page itself must tell.
TEST(Metrics, TheAgeOfTheLastStepGrowsByItself) {
  Clock::time_point now{};
  Metrics metrics(Facts(), [&now] { return now; });
  const auto age = [&] { return Scrape(metrics)[Named("fma_last_step_age_seconds")]; };
  now += std::chrono::seconds(7);
  EXPECT_EQ(age(), 7) << "since the start";
  metrics.OnStep({.seconds = 1});
  EXPECT_EQ(age(), 0);
  now += std::chrono::seconds(90);
  EXPECT_EQ(age(), 90);
}

TEST(ContextBuckets, LengthsFallWhereTheirLabelsSay) {
  EXPECT_STREQ(kContextBuckets[ContextBucketOf(0)].label, "0-1k");
  EXPECT_STREQ(kContextBuckets[ContextBucketOf(16 * 1024)].label, "16k-128k");
  EXPECT_STREQ(kContextBuckets[ContextBucketOf(131'072)].label, "128k-1M");
  EXPECT_STREQ(kContextBuckets[ContextBucketOf(INT64_MAX)].label, "1M+");
}

TEST(ExpositionTest, FamiliesOfSeveralModelsAreOneAndGoWithTheirModel) {
  ModelFacts facts = Facts();
  auto first = std::make_shared<Metrics>(facts);
  facts.name = "other";
  const auto second = std::make_shared<Metrics>(facts);
  Exposition page;
  page.Add(first);
  page.Add(second);
  std::string text = page.Render();
  const std::string type = "# TYPE fma_slots gauge";
  EXPECT_NE(text.find(type), std::string::npos);
  EXPECT_EQ(text.find(type), text.rfind(type)) << "a family is on the page once";
  EXPECT_THAT(text, HasSubstr("fma_slots{model_name=\"m\"} 8"));
  EXPECT_THAT(text, HasSubstr("fma_slots{model_name=\"other\"} 8"));
  first.reset();
  text = page.Render();
  EXPECT_EQ(text.find("\"m\""), std::string::npos);
  EXPECT_THAT(text, HasSubstr("fma_slots{model_name=\"other\"} 8"));
}

TEST(ExpositionTest, SixMetricsAlsoHaveTheirNamesInVllm) {
  const auto metrics = std::make_shared<Metrics>(Facts(), [] { return Clock::time_point(); });
  metrics->OnLoad({.running = 6, .waiting = 2});
  metrics->OnFirstToken(0.02);
  for (const int64_t position : {100, 2000, 200'000}) metrics->OnNextToken(0.003, position);
  engine::EndReport end;
  end.end_to_end_seconds = 3;
  metrics->OnEnd(end);
  const auto page = [&](bool vllm_names) {
    Exposition exposition(vllm_names);
    exposition.Add(metrics);
    return exposition.Render();
  };
  const std::string text = page(true);
  for (const char* line :
       {"# TYPE vllm:num_requests_running gauge", "vllm:num_requests_running{model_name=\"m\"} 6",
        "vllm:num_requests_waiting{model_name=\"m\"} 2",
        "vllm:kv_cache_usage_perc{model_name=\"m\"} 0.75",
        "# TYPE vllm:time_to_first_token_seconds histogram",
        "vllm:time_to_first_token_seconds_count{model_name=\"m\"} 1",
        "vllm:e2e_request_latency_seconds_sum{model_name=\"m\"} 3",
        "vllm:inter_token_latency_seconds_count{model_name=\"m\"} 3",
        "vllm:inter_token_latency_seconds_bucket{model_name=\"m\",le=\"0.003\"} 3",
        "vllm:inter_token_latency_seconds_bucket{model_name=\"m\",le=\"0.002\"} 0"}) {
    EXPECT_THAT(text, HasSubstr(std::string(line) + "\n"));
  }
  EXPECT_EQ(text.substr(0, text.find("# HELP vllm:")), page(false));
}

}  // namespace
}  // namespace fmaserver::metrics
