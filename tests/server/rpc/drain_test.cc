// Health, reflection, and a clean shutdown.
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>

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
  for (const char* service : {"", "fma.v1.Generation", "fma.v1.Sessions"}) {
    EXPECT_EQ(CheckHealth(server, service), kServing);
    server.rpc().SetServing(false);
    EXPECT_EQ(CheckHealth(server, service), kNotServing);
    server.rpc().SetServing(true);
  }
}

TEST(DrainTest, ReflectionListsTheServices) {
  TestServer server;
  constexpr int kListServices = 7;
  const RawAnswer answer =
      RawCall(server.NewChannel(), "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
              BytesField(kListServices, "*"));
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_THAT(answer.bytes, HasSubstr("fma.v1.Generation"));
  EXPECT_THAT(answer.bytes, HasSubstr("grpc.health.v1.Health"));
}

TEST(DrainTest, ReflectionDescribesTheServices) {
  TestServer server;
  constexpr int kFileContainingSymbol = 4;
  const auto describe = [&](const std::string& service) {
    const RawAnswer answer = RawCall(
        server.NewChannel(), "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        BytesField(kFileContainingSymbol, service));
    EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
    return answer.bytes;
  };
  EXPECT_THAT(describe("fma.v1.Generation"), HasSubstr("GenerateRequest"));
  EXPECT_THAT(describe("grpc.health.v1.Health"), HasSubstr("HealthCheckRequest"));
}

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
