// fma-bench with conversations, as a process against real servers that share their sessions: some
// of them drain, are killed or stand still, and every token is that of an undisturbed run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
using ::testing::HasSubstr;

class ConversationsTest : public ::testing::Test {
 protected:
  ConversationsTest() {
    EXPECT_TRUE(WriteRandomCheckpoint(ByteModelConfig(), 1, kernels::WeightFormat::kF32,
                                      folder_.path() / "tiny")
                    .ok());
  }

  /// A server more, which shares its sessions with the others.
  ServerProcess& Serve(std::vector<std::string> flags = {}) {
    flags.insert(flags.end(),
                 {"--threads", "1", "--session-dir", File("sessions"), "--drain-seconds", "0.05"});
    servers_.push_back(std::make_unique<ServerProcess>(folder_.path() / "tiny", flags));
    return *servers_.back();
  }

  std::string File(const std::string& name) const { return (folder_.path() / name).string(); }

  /// Runs 12 conversations of 4 turns with all servers, or with those of `addresses`; the report.
  json Run(const std::vector<std::string>& more, int exit_code,
           std::vector<std::string> addresses = {}) {
    std::vector<std::string> arguments = {std::string(FMA_BIN_DIR) + "/fma-bench",
                                          "--conversations",
                                          "12",
                                          "--turns",
                                          "4",
                                          "--prompt-tokens",
                                          "uniform:1:40",
                                          "--output-tokens",
                                          "uniform:20:60",
                                          "--json",
                                          File("report")};
    if (addresses.empty()) {
      for (const auto& server : servers_) addresses.push_back(server->address());
    }
    for (const std::string& address : addresses) {
      arguments.insert(arguments.end(), {"--server", address});
    }
    arguments.insert(arguments.end(), more.begin(), more.end());
    Process bench(arguments);
    EXPECT_EQ(bench.Wait(), exit_code) << bench.Output() << bench.Errors();
    output_ = bench.Output() + bench.Errors();
    return json::parse(ReadFile(File("report")), nullptr, /*allow_exceptions=*/false);
  }

  TempFolder folder_;
  std::vector<std::unique_ptr<ServerProcess>> servers_;
  std::string output_;
};

std::string Signal(const char* signal, ServerProcess& server) {
  return std::string("kill -") + signal + " " + std::to_string(server.process().pid());
}

TEST_F(ConversationsTest, GoOnWithTheSameTokensWhateverHappensToTheirServers) {
  ServerProcess& first = Serve();
  ServerProcess& second = Serve();
  ServerProcess& third = Serve();
  // While the conversations think there is time for all of it: with this seed some think for more
  // than three seconds.
  const std::string stand_still = Signal("STOP", third) + "; sleep 0.5; " + Signal("CONT", third);
  ASSERT_TRUE(WriteFile(File("faults"), "0.2 " + Signal("TERM", first) + "\n0.5 " +
                                            Signal("KILL", second) + "\n0.8 " + stand_still +
                                            "\n"));
  const json report = Run({"--think", "0.5", "--faults", File("faults"), "--reference",
                           File("reference"), "--timeout", "20"},
                          0);
  EXPECT_EQ(report["conversations"]["lost"], 0);
  EXPECT_EQ(report["conversations"]["different"], 0);
  EXPECT_GT(report["conversations"]["resumed"], 0) << "those of the second server, at least";
  ASSERT_EQ(report["faults"].size(), 3U);
  for (const json& fault : report["faults"]) EXPECT_EQ(fault["exit_code"], 0) << fault;
  EXPECT_GT(report["faults"][1]["resumed_by_session"], 0);

  // A server that nobody resumed on has the same tokens; one wrong token in the reference is seen.
  json reference = json::parse(ReadFile(File("reference")));
  json& token = reference["answers"][7][2][3];
  token = (token.get<int>() + 1) % 256;
  ASSERT_TRUE(WriteFile(File("reference"), reference.dump()));
  const json wrong = Run({"--reference", File("reference")}, 1, {third.address()});
  EXPECT_EQ(wrong["conversations"]["different"], 1);
  EXPECT_EQ(wrong["conversations"]["undisturbed"], 12);
  EXPECT_THAT(wrong["problems"][0].get<std::string>(),
              HasSubstr("conversation 7: turn 2, token 3: "));
}

TEST_F(ConversationsTest, AreLostWhenNobodyAnswersAnyMore) {
  ServerProcess& only = Serve();
  ASSERT_TRUE(WriteFile(File("faults"), "0.1 " + Signal("KILL", only) + "\n"));
  const json report = Run({"--think", "0.5", "--faults", File("faults"), "--patience", "0.5"}, 1);
  EXPECT_GT(report["conversations"]["lost"], 0);
  EXPECT_EQ(report["conversations"]["different"], 0);
  EXPECT_EQ(report["faults"][0]["lost"], report["conversations"]["lost"]);
  EXPECT_THAT(report["problems"][0].get<std::string>(), HasSubstr("lost: UNAVAILABLE"));
}

TEST_F(ConversationsTest, ReadOnOneServerAndGenerateOnAnotherTheSame) {
  const std::vector<std::string> reference = {"--reference", File("reference")};
  ServerProcess& both = Serve();
  Run(reference, 0);
  ServerProcess& decode = Serve({"--role", "decode", "--role-tokens", "1"});
  ServerProcess& prefill = Serve({"--role", "prefill", "--role-tokens", "1"});
  both.process().Signal(SIGKILL);
  const json report = Run({"--reference", File("reference"), "--prefill", prefill.address()}, 0,
                          {decode.address()});
  EXPECT_EQ(report["conversations"]["undisturbed"], 12);
  // Each refuses the work of the other.
  const json refused = Run(reference, 1, {decode.address()});
  EXPECT_EQ(refused["conversations"]["lost"], 12);
  EXPECT_THAT(output_, HasSubstr("FAILED_PRECONDITION: number of tokens to read is "));
  Run(reference, 1, {prefill.address()});
  EXPECT_THAT(output_, HasSubstr("FAILED_PRECONDITION: number of tokens to generate is "));
}

TEST_F(ConversationsTest, WrongUsageIsRefused) {
  ServerProcess& server = Serve();
  ASSERT_TRUE(WriteFile(File("faults"), "soon true\n"));
  for (const std::vector<std::string>& wrong :
       std::vector<std::vector<std::string>>{{"--faults", File("faults")},
                                             {"--faults", File("no such file")},
                                             {"--reference", File("faults")},
                                             {"--rate", "3"}}) {
    Run(wrong, 2);
  }
  Process without({std::string(FMA_BIN_DIR) + "/fma-bench", "--server", server.address(),
                   "--prefill", server.address()});
  EXPECT_EQ(without.Wait(), 2);
  EXPECT_THAT(without.Errors(), HasSubstr("--conversations or --neighbour-of"));
}

}  // namespace
}  // namespace fmaserver::testing
