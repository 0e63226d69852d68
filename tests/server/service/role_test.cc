// Servers for prefill and for decode: what each of them refuses.
#include "server/service/role.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "server/service/scoring.h"
#include "tests/server/service/service_fixture.h"

namespace fmaserver::testing {
namespace {

using service::Role;
using ::testing::AllOf;
using ::testing::HasSubstr;

TestServiceOptions With(Role role, int64_t tokens) {
  TestServiceOptions options{.sessions = {.rewind_points = 0}};
  options.limits.share = {.role = role, .tokens = tokens};
  return options;
}

absl::Status Generate(TestService& service, int64_t prompt, int64_t max_tokens,
                      const std::string& session = "", int n = 1) {
  service::GenerateRequest request =
      TextRequest(std::string(static_cast<size_t>(prompt), 'a'), max_tokens);
  if (prompt == 0) request.prompt = {};
  request.session_id = session;
  request.options.n = n;
  return GenerateCall(service, request).Run();
}

void ExpectRefused(const absl::Status& status, const char* found, const char* allowed) {
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(found), HasSubstr(allowed)));
}

TEST(Role, HasANameAndBack) {
  for (const Role role : {Role::kAny, Role::kPrefill, Role::kDecode}) {
    EXPECT_EQ(service::RoleOf(service::NameOf(role)), role);
  }
}

TEST(Role, AnyDoesEverything) {
  TestService service(With(Role::kAny, 1));
  EXPECT_TRUE(Generate(service, 300, 300).ok());
}

TEST(Role, PrefillReadsWhatComesAndGeneratesLittle) {
  TestService service(With(Role::kPrefill, 6));
  Require(service.sessions().Create(kStory, {}).status());
  EXPECT_TRUE(Generate(service, 3000, 0, kStory.id).ok());
  EXPECT_TRUE(Generate(service, 5, 6, kStory.id).ok());
  ExpectRefused(Generate(service, 5, 7, kStory.id), "tokens to generate is 7", "up to 6");
  EXPECT_EQ(service.sessions().Get(kStory)->tokens, 3011) << "a refused turn changes nothing";
  EXPECT_TRUE(Generate(service, 5, 3, "", 2).ok());
  ExpectRefused(Generate(service, 5, 4, "", 2), "tokens to generate is 8", "role is prefill");
}

TEST(Role, DecodeReadsLittleAndGeneratesWhatIsWanted) {
  TestService service(With(Role::kDecode, 6));
  EXPECT_TRUE(Generate(service, 6, 100).ok());
  ExpectRefused(Generate(service, 7, 1), "tokens to read is 7", "up to 6");
}

// A session that was taken back may have much to read again, though its turn brings little.
TEST(Role, DecodeCountsWhatItsSessionHasNotRead) {
  TestService service(With(Role::kDecode, 6));
  Require(service.sessions().Create(kStory, {}).status());
  ASSERT_TRUE(Generate(service, 6, 20, kStory.id).ok());
  EXPECT_TRUE(Generate(service, 5, 1, kStory.id).ok()) << "its last token has not been read yet";
  ExpectRefused(Generate(service, 6, 1, kStory.id), "tokens to read is 7", "role is decode");
  ASSERT_EQ(service.sessions().Rewind(kStory, 10)->tokens, 10);
  ExpectRefused(Generate(service, 0, 1, kStory.id), "tokens to read is 10", "max_tokens 0");
  EXPECT_EQ(service.sessions().Get(kStory)->place, sessions::SessionPlace::kInMemory);
}

TEST(Role, DecodeScoresLittle) {
  TestService service(With(Role::kDecode, 6));
  const auto score = [&](const std::string& text) {
    const auto door = std::make_shared<FakeDoor<service::ScoreEvent>>();
    const auto call =
        service::Scoring::Start(*service, service.model(), service.Begin(service::kScore), door,
                                text.size(), [text]() -> absl::StatusOr<service::ScoreRequest> {
                                  service::ScoreRequest request;
                                  request.text.text = text;
                                  return request;
                                });
    return door->Run(*call);
  };
  EXPECT_TRUE(score("abcdef").ok());
  ExpectRefused(score("abcdefg"), "tokens to read is 7", "up to 6");
}

}  // namespace
}  // namespace fmaserver::testing
