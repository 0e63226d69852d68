// fma-bench as a process against a real server: it reports what the server was asked for.
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/clients/process.h"
#include "tests/clients/server_process.h"
#include "tests/server/rpc/test_server.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

class FmaBenchTest : public ::testing::Test {
 protected:
  void Serve(const std::vector<std::string>& flags) {
    const auto model = folder_.path() / "tiny";
    ASSERT_TRUE(
        WriteRandomCheckpoint(ByteModelConfig(), 1, kernels::WeightFormat::kF32, model).ok());
    server_ = std::make_unique<ServerProcess>(model, flags);
    address_ = server_->address();
  }

  Process Start(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), std::string(FMA_BIN_DIR) + "/fma-bench");
    arguments.insert(arguments.end(), {"--server", address_, "--json", JsonFile()});
    return Process(arguments);
  }

  /// The report of a run that ends with `exit_code`.
  json Run(const std::vector<std::string>& arguments, int exit_code = 0) const {
    Process bench = Start(arguments);
    EXPECT_EQ(bench.Wait(), exit_code) << bench.Output() << bench.Errors();
    return json::parse(ReadFile(JsonFile()), nullptr, /*allow_exceptions=*/false);
  }

  std::string JsonFile() const { return (folder_.path() / "report.json").string(); }

  TempFolder folder_;
  std::string address_ = "127.0.0.1:1";
  std::unique_ptr<ServerProcess> server_;
};

TEST_F(FmaBenchTest, ClosedLoopCountsEveryRequestAndToken) {
  Serve({"--threads", "1"});
  const json report = Run({"--concurrency", "5", "--requests", "23", "--warmup", "7",
                           "--prompt-tokens", "fixed:11", "--output-tokens", "fixed:9"});
  EXPECT_EQ(report["requests"]["succeeded"], 23);
  EXPECT_EQ(report["requests"]["failed"], 0);
  EXPECT_EQ(report["tokens"]["prompt"], 23 * 11);
  EXPECT_EQ(report["tokens"]["generated"], 23 * 9);
  EXPECT_EQ(report["latency_seconds"]["time_to_first_token"]["count"], 23);
  EXPECT_EQ(report["latency_seconds"]["end_to_end"]["count"], 23);
  EXPECT_LE(report["latency_seconds"]["inter_token"]["count"], 23 * 8);
  const json& first = report["latency_seconds"]["time_to_first_token"];
  EXPECT_GT(first["p50"], 0);
  EXPECT_LE(first["p50"], first["max"]);
  EXPECT_LT(first["p50"], report["latency_seconds"]["end_to_end"]["p50"]);
  EXPECT_EQ(report["server"]["model"], "tiny");
}

TEST_F(FmaBenchTest, OpenLoopReadsPromptsFromAFile) {
  Serve({"--threads", "1"});
  const std::string text = (folder_.path() / "text").string();
  ASSERT_TRUE(WriteFile(text, "a few words"));
  const json report =
      Run({"--rate", "200", "--requests", "20", "--prompt-file", text, "--prompt-tokens",
           "uniform:1:30", "--output-tokens", "fixed:2", "--temperature", "0"});
  EXPECT_EQ(report["requests"]["succeeded"], 20);
  EXPECT_EQ(report["tokens"]["generated"], 40);
  EXPECT_EQ(report["options"]["rate"], 200);
}

TEST_F(FmaBenchTest, FailuresAreCountedByTheirStatus) {
  Serve({"--threads", "1", "--slots", "1", "--max-queue", "2"});
  const json refused =
      Run({"--concurrency", "8", "--requests", "60", "--output-tokens", "fixed:200"});
  const int succeeded = refused["requests"]["succeeded"];
  EXPECT_GT(succeeded, 0);
  EXPECT_EQ(refused["failures"]["RESOURCE_EXHAUSTED"]["count"], 60 - succeeded);

  const json late = Run({"--concurrency", "1", "--requests", "2", "--timeout", "0.05",
                         "--output-tokens", "fixed:10000000"},
                        /*exit_code=*/3);
  EXPECT_EQ(late["failures"]["DEADLINE_EXCEEDED"]["count"], 2);
}

TEST_F(FmaBenchTest, NeighbourReportsBothPhases) {
  Serve({"--threads", "1", "--step-tokens", "64"});
  const json report = Run({"--neighbour-of", "40000", "--concurrency", "3", "--duration", "0.2"});
  EXPECT_EQ(report["slice"]["tokens"], 64);
  EXPECT_GT(report["slice"]["seconds"], 0);
  EXPECT_GT(report["inter_token_seconds"]["alone"]["count"], 0);
  // Every step with a slice also has a decode row of every stream; for a slow reader some deltas
  // are merged.
  EXPECT_GT(report["inter_token_seconds"]["loading"]["count"], 100);
  EXPECT_GT(report["loading_over_slice"]["worst"], report["loading_over_slice"]["median"]);
}

/// Whether a request for one token waits for a slot for a while.
bool IsFull(const std::string& address) {
  const auto stub =
      v1::Generation::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  const auto reader = stub->Generate(&context, TextRequest("x", 1));
  v1::GenerateResponse response;
  while (reader->Read(&response)) {
  }
  return reader->Finish().error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
}

TEST_F(FmaBenchTest, CtrlCReportsWhatThereIs) {
  Serve({"--threads", "1", "--slots", "3"});
  Process bench = Start({"--concurrency", "3", "--output-tokens", "fixed:10000000"});
  ASSERT_TRUE(Eventually([&] { return IsFull(address_); }));
  bench.Signal(SIGINT);
  EXPECT_EQ(bench.Wait(), 130);
  const json report = json::parse(ReadFile(JsonFile()), nullptr, /*allow_exceptions=*/false);
  EXPECT_EQ(report["requests"]["interrupted"], 3);
  EXPECT_EQ(report["requests"]["failed"], 0);
  EXPECT_GT(report["tokens"]["generated"], 0);
  EXPECT_THAT(bench.Output(), AllOf(HasSubstr("inter-token"), HasSubstr("3 interrupted")));
}

TEST_F(FmaBenchTest, WrongUsageAndNoServerHaveTheirExitCodes) {
  for (const std::vector<std::string>& wrong :
       std::vector<std::vector<std::string>>{{"--prompt-tokens", "normal:3"},
                                             {"--concurrency", "0"},
                                             {"--rate", "nan"},
                                             {"--prompt-file", "/no/such/file"},
                                             {"--neighbour-of", "100", "--rate", "3"}}) {
    EXPECT_EQ(Start(wrong).Wait(), 2) << wrong[0];
  }
  Process bench = Start({});
  EXPECT_EQ(bench.Wait(), 4);
  EXPECT_THAT(bench.Errors(), AllOf(HasSubstr("fma-bench: "), HasSubstr("127.0.0.1:1")));
}

}  // namespace
}  // namespace fmaserver::testing
