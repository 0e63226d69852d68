// The parts of fma-bench that need no server: lengths, arrivals, percentiles, the report.
#include "bench/load/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "bench/load/latencies.h"
#include "bench/load/length_distribution.h"
#include "bench/load/report.h"
#include "bench/load/requests.h"

namespace fmaserver::bench {
namespace {

using ::testing::HasSubstr;

std::vector<int64_t> Draw(const std::string& text, int count) {
  const auto lengths = LengthDistribution::Parse(text);
  EXPECT_TRUE(lengths.ok()) << lengths.status();
  std::mt19937_64 random(5);
  std::vector<int64_t> drawn;
  for (int i = 0; i < count; ++i) drawn.push_back(lengths->Draw(random));
  return drawn;
}

TEST(LengthDistribution, DrawsWhatItsNameSays) {
  EXPECT_EQ(Draw("fixed:7", 3), std::vector<int64_t>({7, 7, 7}));

  std::vector<int64_t> uniform = Draw("uniform:3:6", 4000);
  for (const int64_t length : {3, 4, 5, 6}) {
    EXPECT_NEAR(std::ranges::count(uniform, length), 1000, 5 * std::sqrt(4000 * 0.25 * 0.75));
  }

  // The logarithms' quantiles: the median, and one standard deviation above and below it.
  std::vector<int64_t> lognormal = Draw("lognormal:400:0.5:100000", 20000);
  std::ranges::sort(lognormal);
  EXPECT_NEAR(lognormal[10000], 400, 10);
  EXPECT_NEAR(lognormal[16827], 400 * std::exp(0.5), 20);
  EXPECT_NEAR(lognormal[3173], 400 * std::exp(-0.5), 10);
  std::vector<int64_t> clipped = Draw("lognormal:2:10:50", 1000);
  EXPECT_EQ(std::ranges::min(clipped), 1);
  EXPECT_EQ(std::ranges::max(clipped), 50);
}

TEST(LengthDistribution, RefusesWhatIsNone) {
  for (const char* text :
       {"", "fixed", "fixed:", "fixed:0", "fixed:-1", "fixed:1.5", "fixed:1:2", "fixed:100000001",
        "uniform:5:4", "uniform:5", "uniform:0:4", "lognormal:5:nan:10", "lognormal:5:0:10",
        "lognormal:5:1", "lognormal:20:1:10", "normal:5:1", "FIXED:1"}) {
    const auto lengths = LengthDistribution::Parse(text);
    EXPECT_FALSE(lengths.ok()) << text;
    EXPECT_THAT(std::string(lengths.status().message()), HasSubstr("uniform:MIN:MAX"));
  }
}

TEST(Latencies, ArePercentilesOfTheMeasurements) {
  EXPECT_EQ(Latencies::Of({}).count, 0U);
  std::mt19937_64 random(3);
  for (int count = 1; count <= 230; ++count) {
    std::vector<double> seconds;
    for (int i = 0; i < count; ++i) seconds.push_back(static_cast<double>(random() % 40) / 8);
    const Latencies latencies = Latencies::Of(seconds);
    // The definition: the smallest measurement that `percent` of 100 do not exceed.
    const auto percentile = [&](int percent) {
      double best = INFINITY;
      for (const double candidate : seconds) {
        const auto within =
            std::ranges::count_if(seconds, [&](double x) { return x <= candidate; });
        if (within * 100 >= percent * count) best = std::min(best, candidate);
      }
      return best;
    };
    EXPECT_EQ(latencies.p50, percentile(50)) << count;
    EXPECT_EQ(latencies.p90, percentile(90)) << count;
    EXPECT_EQ(latencies.p95, percentile(95)) << count;
    EXPECT_EQ(latencies.p99, percentile(99)) << count;
    EXPECT_EQ(latencies.max, std::ranges::max(seconds));
    double sum = 0;
    for (const double x : seconds) sum += x;
    EXPECT_DOUBLE_EQ(latencies.mean, sum / count);
  }
}

TEST(Schedule, ClosedLoopIsDueAtOnceAndCounts) {
  Schedule schedule({.requests = 3}, NowSeconds());
  for (int i = 0; i < 3; ++i) {
    const double before = NowSeconds();
    const auto turn = schedule.Next();
    ASSERT_TRUE(turn.has_value());
    EXPECT_EQ(turn->number, i);
    EXPECT_GE(turn->due, before);
    EXPECT_FALSE(turn->late);
  }
  EXPECT_FALSE(schedule.Next().has_value());
  Schedule over({.duration_seconds = 1}, NowSeconds() - 2);
  EXPECT_FALSE(over.Next().has_value());
}

std::vector<double> Arrivals(const LoadPlan& plan, double begin) {
  std::vector<double> arrivals;
  Schedule schedule(plan, begin);
  while (const auto turn = schedule.Next()) arrivals.push_back(turn->due - begin);
  return arrivals;
}

TEST(Schedule, OpenLoopIsAPoissonProcess) {
  const double begin = NowSeconds() + 1000;
  const std::vector<double> arrivals = Arrivals({.rate = 50, .duration_seconds = 400}, begin);
  EXPECT_NEAR(static_cast<double>(arrivals.size()), 20000, 5 * std::sqrt(20000));
  EXPECT_LT(arrivals.back(), 400);
  // Gaps are exponential: e^-1 of them above the mean, e^-2 above twice the mean.
  double above = 0;
  double far_above = 0;
  for (size_t i = 1; i < arrivals.size(); ++i) {
    above += arrivals[i] - arrivals[i - 1] > 0.02 ? 1 : 0;
    far_above += arrivals[i] - arrivals[i - 1] > 0.04 ? 1 : 0;
  }
  EXPECT_NEAR(above / static_cast<double>(arrivals.size()), std::exp(-1), 0.02);
  EXPECT_NEAR(far_above / static_cast<double>(arrivals.size()), std::exp(-2), 0.02);

  const LoadPlan few{.rate = 50, .requests = 100, .seed = 9};
  const std::vector<double> first = Arrivals(few, begin);
  EXPECT_EQ(first.size(), 100U);
  EXPECT_EQ(first, Arrivals(few, begin));
  EXPECT_NE(first, Arrivals({.rate = 50, .requests = 100, .seed = 10}, begin));

  Schedule behind({.rate = 50}, NowSeconds() - 10);
  EXPECT_TRUE(behind.Next()->late);
}

TEST(RequestSource, IsAFunctionOfSeedAndNumber) {
  LoadOptions options;
  options.prompt_lengths = "uniform:1:50";
  options.output_lengths = "uniform:1:50";
  options.temperature = 0.5F;
  const auto make = [&](int64_t number) {
    return RequestSource(options, PromptSource::RandomIds(10)).Make(number);
  };
  const v1::GenerateRequest request = make(3);
  EXPECT_EQ(make(3).SerializeAsString(), request.SerializeAsString());
  EXPECT_NE(make(4).SerializeAsString(), request.SerializeAsString());
  EXPECT_TRUE(request.ignore_eos());
  EXPECT_EQ(request.sampling().temperature(), 0.5F);
  for (int64_t number = -20; number < 200; ++number) {
    const v1::GenerateRequest any = make(number);
    EXPECT_TRUE(any.token_ids().ids_size() >= 1 && any.token_ids().ids_size() <= 50);
    EXPECT_TRUE(any.max_tokens() >= 1 && any.max_tokens() <= 50);
    for (const uint32_t id : any.token_ids().ids()) EXPECT_LT(id, 10U);
  }
  options.seed = 2;
  EXPECT_NE(make(3).SerializeAsString(), request.SerializeAsString());
}

StreamRecord Record(double due, std::vector<double> deltas, uint64_t tokens, double end) {
  StreamRecord record;
  record.due = due;
  record.deltas = std::move(deltas);
  record.generated_tokens = tokens;
  record.end = end;
  record.usage.set_prompt_tokens(10);
  return record;
}

StreamRecord FailedRecord(absl::Status status) {
  StreamRecord record = Record(0, {1}, 1, 2);
  record.status = std::move(status);
  return record;
}

TEST(BenchReport, MeasuresFromWhenARequestWasDue) {
  LoadResult result{.records = {}, .late = 1, .seconds = 4};
  result.records.push_back(Record(1, {1.5, 1.75, 2.75}, 5, 3));  // deltas of 5 tokens in all
  result.records.push_back(Record(2, {2.25}, 1, 2.5));
  result.records.push_back(FailedRecord(absl::ResourceExhaustedError("full")));
  result.records.push_back(FailedRecord(absl::ResourceExhaustedError("full again")));
  result.records.push_back(FailedRecord(absl::CancelledError("by the user")));

  const BenchReport report = BenchReport::Of(result, /*interrupted=*/true);
  EXPECT_EQ(report.succeeded, 2);
  EXPECT_EQ(report.failed, 2);
  EXPECT_EQ(report.interrupted, 1);
  EXPECT_EQ(report.late, 1);
  EXPECT_EQ(report.prompt_tokens, 20U);
  EXPECT_EQ(report.generated_tokens, 9U);
  EXPECT_EQ(report.time_to_first_token.count, 2U);
  EXPECT_EQ(report.time_to_first_token.max, 0.5);
  EXPECT_EQ(report.inter_token.count, 2U);
  EXPECT_EQ(report.inter_token.p50, 0.25);
  EXPECT_EQ(report.inter_token.max, 1);
  EXPECT_EQ(report.time_per_token.count, 1U);
  EXPECT_EQ(report.time_per_token.max, 1.25 / 4);
  EXPECT_EQ(report.end_to_end.max, 2);
  ASSERT_EQ(report.failures.by_code.size(), 1U);
  EXPECT_EQ(report.failures.by_code.at("RESOURCE_EXHAUSTED").count, 2);
  EXPECT_EQ(report.failures.by_code.at("RESOURCE_EXHAUSTED").first_message, "full");
  // A cancelled call that nobody here cancelled is a failure.
  EXPECT_EQ(BenchReport::Of(result, /*interrupted=*/false).failures.by_code.at("CANCELLED").count,
            1);

  const nlohmann::json json = ToJson(report, {}, {});
  EXPECT_EQ(json["throughput"]["requests_per_second"], 0.5);
  EXPECT_EQ(json["throughput"]["prompt_tokens_per_second"], 5);
  EXPECT_EQ(json["latency_seconds"]["inter_token"]["p99"], 1);
  EXPECT_THAT(ToText(report, {}, {}), HasSubstr("RESOURCE_EXHAUSTED x 2, first: full"));
}

}  // namespace
}  // namespace fmaserver::bench
