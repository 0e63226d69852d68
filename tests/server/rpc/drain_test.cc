// Health, reflection, and a clean shutdown.
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "tests/server/rpc/raw_call.h"
#include "tests/server/rpc/test_server.h"

namespace fmaserver::testing {
namespace {

using ::testing::HasSubstr;

// The one field of grpc.health.v1.HealthCheckResponse, an enum.
const std::string kServing("\x08\x01");
const std::string kNotServing("\x08\x02");

std::string CheckHealth(TestServer& server, const std::string& service) {
  const RawAnswer answer =
      RawCall(server.NewChannel(), "/grpc.health.v1.Health/Check", BytesField(1, service));
  return answer.status.ok() ? answer.bytes : answer.status.error_message();
}

TEST(DrainTest, HealthFollowsServing) {
  TestServer server;
  for (const char* service : {"", "fma.v1.Generation", "fma.v1.Sessions", "fma.v1.Encoders"}) {
    EXPECT_EQ(CheckHealth(server, service), kServing);
    server.rpc().SetServing(false);
    EXPECT_EQ(CheckHealth(server, service), kNotServing);
    server.rpc().SetServing(true);
  }
}

/// Both versions have the same messages.
class ReflectionTest : public ::testing::TestWithParam<const char*> {
 protected:
  std::string Ask(int field, const std::string& value) {
    const RawAnswer answer = RawCall(
        server_.NewChannel(),
        absl::StrCat("/grpc.reflection.", GetParam(), ".ServerReflection/ServerReflectionInfo"),
        BytesField(field, value));
    EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
    return answer.bytes;
  }

  TestServer server_;
};

TEST_P(ReflectionTest, ListsTheServices) {
  constexpr int kListServices = 7;
  const std::string list = Ask(kListServices, "*");
  for (const char* service :
       {"fma.v1.Generation", "fma.v1.Sessions", "fma.v1.Encoders", "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}) {
    EXPECT_THAT(list, HasSubstr(service));
  }
}

TEST_P(ReflectionTest, DescribesTheServices) {
  constexpr int kFileByFilename = 3;
  constexpr int kFileContainingSymbol = 4;
  for (const char* symbol : {"fma.v1.Generation", "fma.v1.Generation.Generate"}) {
    EXPECT_THAT(Ask(kFileContainingSymbol, symbol), HasSubstr("GenerateRequest"));
  }
  EXPECT_THAT(Ask(kFileContainingSymbol, "grpc.health.v1.Health"), HasSubstr("HealthCheckRequest"));
  EXPECT_THAT(Ask(kFileByFilename, "fma/v1/sessions.proto"), HasSubstr("ForkSessionRequest"));
}

TEST_P(ReflectionTest, SaysWhatThereIsNot) {
  constexpr int kFileContainingSymbol = 4;
  constexpr int kExtensionNumbers = 6;
  constexpr char kNotFound = 5;
  constexpr int kErrorResponse = 7;
  for (const int field : {kFileContainingSymbol, kExtensionNumbers}) {
    const std::string answer = Ask(field, "no.such.Thing");
    const std::string code = {1 << 3, kNotFound};  // its field 1
    const size_t error = answer.find(static_cast<char>(kErrorResponse << 3 | 2));
    ASSERT_NE(error, std::string::npos);
    EXPECT_THAT(answer.substr(error), HasSubstr(code));
  }
}

INSTANTIATE_TEST_SUITE_P(Versions, ReflectionTest, ::testing::Values("v1", "v1alpha"));

TEST(DrainTest, RunningStreamsFinishAndNewOnesAreRefused) {
  TestServer server;
  const v1::GenerateRequest request = TextRequest("running", 5'000);
  grpc::ClientContext context;
  const auto reader = server.stub().Generate(&context, request);
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));

  std::thread drain([&server] { server.engine().Drain(absl::Seconds(60)); });
  grpc::Status refused;
  EXPECT_TRUE(Eventually([&] {
    refused = Generate(server.stub(), TextRequest("new", 1)).status;
    return !refused.ok();
  }));
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE) << refused.error_message();

  uint64_t generated = 0;
  while (reader->Read(&response)) generated = response.finished().usage().generated_tokens();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(generated, 5'000U);
  drain.join();
  server.rpc().Shutdown(absl::Seconds(5));
}

TEST(DrainTest, StreamsThatOutlastTheGraceEndWithUnavailable) {
  TestServer server;
  grpc::ClientContext context;
  const auto reader = server.stub().Generate(&context, TextRequest("endless", 100'000'000));
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  std::thread drain([&server] { server.engine().Drain(absl::Milliseconds(100)); });
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  drain.join();
}

TEST(DrainTest, AddressInUseIsAnError) {
  TestServer server;
  const auto second = rpc::RpcServer::Start(server.service(), {.listen = server.Address()});
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(server.Address()));
}

}  // namespace
}  // namespace fmaserver::testing
