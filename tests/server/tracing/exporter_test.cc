// Spans on their way to a collector, a real one over real sockets, which is slow, away, or refuses.
#include "server/tracing/exporter.h"

#include <gmock/gmock.h>
#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace fmaserver::tracing {
namespace {

using ::testing::ElementsAre;

constexpr std::chrono::seconds kPatience(60);

/// Keeps the names of the spans that it takes; a test says how it answers.
class TestCollector final : public otlp::TraceService::Service {
 public:
  using Answer = std::function<grpc::Status(otlp::ExportTraceServiceResponse&)>;

  explicit TestCollector(Answer answer = {}, int port = 0) : answer_(std::move(answer)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(absl::StrCat("127.0.0.1:", port), grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~TestCollector() override {
    Open();
    server_->Shutdown(std::chrono::system_clock::now());
  }

  int port() const { return port_; }

  grpc::Status Export(grpc::ServerContext* context, const otlp::ExportTraceServiceRequest* request,
                      otlp::ExportTraceServiceResponse* response) override {
    std::unique_lock lock(mutex_);
    for (const auto& [key, value] : context->client_metadata()) {
      metadata_[std::string(key.data(), key.size())] = std::string(value.data(), value.size());
    }
    ++exports_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !shut_; });
    const grpc::Status status = answer_ ? answer_(*response) : grpc::Status::OK;
    if (!status.ok()) return status;
    for (const auto& resource : request->resource_spans()) {
      for (const auto& attribute : resource.resource().attributes()) {
        resource_[attribute.key()] = attribute.value().string_value();
      }
      for (const auto& scope : resource.scope_spans()) {
        for (const auto& span : scope.spans()) names_.push_back(span.name());
      }
    }
    changed_.notify_all();
    return status;
  }

  std::vector<std::string> AwaitNames(size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kPatience, [&] { return names_.size() >= count; }));
    return names_;
  }
  void AwaitExports(int count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kPatience, [&] { return exports_ >= count; }));
  }
  void Shut() { SetShut(true); }
  void Open() { SetShut(false); }
  std::map<std::string, std::string> metadata() { return Locked(metadata_); }
  std::map<std::string, std::string> resource() { return Locked(resource_); }

 private:
  void SetShut(bool shut) {
    const std::lock_guard lock(mutex_);
    shut_ = shut;
    changed_.notify_all();
  }
  template <class Value>
  Value Locked(const Value& value) {
    const std::lock_guard lock(mutex_);
    return value;
  }

  int port_ = 0;
  const Answer answer_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool shut_ = false;  // guarded by mutex_, as is all that follows
  int exports_ = 0;
  std::vector<std::string> names_;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, std::string> resource_;
  std::unique_ptr<grpc::Server> server_;
};

/// A port that nobody listens on: its listener has gone.
int FreePort() { return TestCollector().port(); }

ExporterOptions Quick() {
  ExporterOptions options;
  options.gathering = 0.01;
  options.first_pause = 0.01;
  options.longest_pause = 0.05;
  return options;
}

class ExporterTest : public ::testing::Test {
 protected:
  void Start(int port, const ExporterOptions& options = Quick(), Pairs headers = {}) {
    TracingPlan plan;
    plan.endpoint.target = absl::StrCat("127.0.0.1:", port);
    plan.headers = std::move(headers);
    otlp::ResourceSpans sender;
    AddText(*sender.mutable_resource(), "service.name", "test");
    sender.add_scope_spans();
    exporter_ = std::make_unique<Exporter>(plan, sender, counts_, options);
  }

  /// One span, or several that belong together.
  void Offer(const std::vector<std::string>& names) {
    std::vector<otlp::Span> spans;
    for (const std::string& name : names) spans.emplace_back().set_name(name);
    exporter_->Offer(std::move(spans));
  }

  static void Await(const std::atomic<int64_t>& count, int64_t value) {
    const auto end = Clock::now() + kPatience;
    while (count != value && Clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    EXPECT_EQ(count, value);
  }

  const std::shared_ptr<TraceCounts> counts_ = std::make_shared<TraceCounts>();
  std::unique_ptr<Exporter> exporter_;
};

TEST_F(ExporterTest, SpansArriveInOrderWithTheirSender) {
  TestCollector collector;
  Start(collector.port(), Quick(), {{"api-key", "secret"}});
  Offer({"a", "b"});
  Offer({"c"});
  EXPECT_THAT(collector.AwaitNames(3), ElementsAre("a", "b", "c"));
  EXPECT_EQ(collector.metadata()["api-key"], "secret");
  EXPECT_EQ(collector.resource()["service.name"], "test");
  Await(counts_->exported, 3);
}

TEST_F(ExporterTest, ManySpansGoInBatches) {
  TestCollector collector;
  ExporterOptions options = Quick();
  options.max_batch = 10;
  options.gathering = 1000;  // a full batch does not wait
  Start(collector.port(), options);
  for (int i = 0; i < 100; ++i) Offer({absl::StrCat(i)});
  EXPECT_EQ(collector.AwaitNames(100).size(), 100U);
  Await(counts_->exported, 100);
}

TEST_F(ExporterTest, ACollectorThatHangsStopsNobody) {
  TestCollector collector;
  collector.Shut();
  ExporterOptions options = Quick();
  options.max_waiting = 4;
  Start(collector.port(), options);
  Offer({"in flight"});
  collector.AwaitExports(1);
  Offer({"a", "b", "c"});
  Offer({"d", "e"});  // together or not at all
  Offer({"f"});
  Offer({"g"});
  EXPECT_EQ(counts_->queue_full, 3);
  collector.Open();
  EXPECT_THAT(collector.AwaitNames(5), ElementsAre("in flight", "a", "b", "c", "f"));
}

TEST_F(ExporterTest, AnExportHasADeadlineAndIsTriedAgain) {
  TestCollector collector;
  collector.Shut();
  ExporterOptions options = Quick();
  options.timeout = 0.05;
  Start(collector.port(), options);
  Offer({"a"});
  collector.AwaitExports(3);
  collector.Open();
  Await(counts_->exported, 1);
}

TEST_F(ExporterTest, ACollectorThatComesBackGetsWhatWaited) {
  const int port = FreePort();
  Start(port);
  Offer({"a"});
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  Offer({"b"});
  TestCollector collector({}, port);
  EXPECT_THAT(collector.AwaitNames(2), ElementsAre("a", "b"));
  Await(counts_->exported, 2);
  EXPECT_EQ(counts_->unreachable, 0);
}

TEST_F(ExporterTest, SpansAreGivenUpInTheEnd) {
  ExporterOptions options = Quick();
  options.persistence = 0.2;
  Start(FreePort(), options);
  Offer({"a", "b"});
  Await(counts_->unreachable, 2);
}

TEST_F(ExporterTest, WhatIsRefusedForGoodIsNotTriedAgain) {
  int calls = 0;
  TestCollector collector([&calls](otlp::ExportTraceServiceResponse&) -> grpc::Status {
    if (++calls > 1) return grpc::Status::OK;
    return {grpc::INVALID_ARGUMENT, "never"};
  });
  Start(collector.port());
  Offer({"a"});
  Await(counts_->refused, 1);
  Offer({"b"});
  EXPECT_THAT(collector.AwaitNames(1), ElementsAre("b"));
}

TEST_F(ExporterTest, APartialSuccessIsCounted) {
  TestCollector collector([](otlp::ExportTraceServiceResponse& response) {
    response.mutable_partial_success()->set_rejected_spans(2);
    response.mutable_partial_success()->set_error_message("too old");
    return grpc::Status::OK;
  });
  Start(collector.port());
  Offer({"a", "b", "c"});
  Await(counts_->exported, 1);
  Await(counts_->refused, 2);
}

TEST_F(ExporterTest, AFullCollectorSaysWhenToComeAgain) {
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_nanos(300'000'000);
  google::rpc::Status details;
  details.add_details()->PackFrom(retry);
  std::vector<Clock::time_point> times;
  TestCollector collector([&](otlp::ExportTraceServiceResponse&) -> grpc::Status {
    times.push_back(Clock::now());
    if (times.size() > 1) return grpc::Status::OK;
    return {grpc::RESOURCE_EXHAUSTED, "later", details.SerializeAsString()};
  });
  Start(collector.port());
  Offer({"a"});
  Await(counts_->exported, 1);
  EXPECT_GE(SecondsBetween(times.at(0), times.at(1)), 0.3);
}

TEST_F(ExporterTest, AFullCollectorThatDoesNotSayIsNotAskedAgain) {
  TestCollector collector([](otlp::ExportTraceServiceResponse&) -> grpc::Status {
    return {grpc::RESOURCE_EXHAUSTED, "full"};
  });
  Start(collector.port());
  Offer({"a"});
  Await(counts_->refused, 1);
}

TEST_F(ExporterTest, TheEndSendsWhatWaits) {
  TestCollector collector;
  ExporterOptions options = Quick();
  options.gathering = 1000;
  Start(collector.port(), options);
  Offer({"a"});
  exporter_.reset();
  EXPECT_THAT(collector.AwaitNames(1), ElementsAre("a"));
  EXPECT_EQ(counts_->exported, 1);
}

TEST_F(ExporterTest, TheEndWaitsForNobodyForLong) {
  TestCollector collector;
  collector.Shut();
  ExporterOptions options = Quick();
  options.patience = 0.2;
  options.max_batch = 1;
  options.timeout = 1000;
  Start(collector.port(), options);
  for (int i = 0; i < 5; ++i) Offer({"a"});
  collector.AwaitExports(1);
  const Clock::time_point start = Clock::now();
  exporter_.reset();
  EXPECT_LT(SecondsSince(start), 30);  // of 1000, on a machine under any load
  EXPECT_EQ(counts_->unreachable, 5);
}

}  // namespace
}  // namespace fmaserver::tracing
