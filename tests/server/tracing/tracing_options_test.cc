#include "server/tracing/tracing_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/temp_folder.h"

namespace fmaserver::tracing {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TracingOptions Local() {
  TracingOptions options;
  options.endpoint = "http://localhost:4317";
  return options;
}

/// Sets variables for as long as it lives.
class Environment {
 public:
  explicit Environment(const std::vector<std::pair<std::string, std::string>>& variables)
      : variables_(variables) {
    for (const auto& [name, value] : variables_) setenv(name.c_str(), value.c_str(), 1);
  }
  ~Environment() {
    for (const auto& [name, value] : variables_) unsetenv(name.c_str());
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  const std::vector<std::pair<std::string, std::string>> variables_;
};

TEST(EndpointTest, IsAHostAndAPort) {
  EXPECT_EQ(ParseEndpoint("URL", "http://collector:4000")->target, "collector:4000");
  EXPECT_EQ(ParseEndpoint("URL", "http://collector/")->target, "collector:4317");
  EXPECT_EQ(ParseEndpoint("URL", "http://[::1]")->target, "[::1]:4317");
  EXPECT_EQ(ParseEndpoint("URL", "http://[::1]:5")->target, "[::1]:5");
  EXPECT_FALSE(ParseEndpoint("URL", "http://collector")->tls);
  EXPECT_TRUE(ParseEndpoint("URL", "https://collector")->tls);
}

TEST(EndpointTest, WhatIsNoneIsRefusedWithoutItsSecrets) {
  for (const char* url :
       {"collector:4317", "grpc://collector", "http://", "http://:4317", "http://c:0",
        "http://c:99999", "http://c:4317/v1/traces", "http://c:x"}) {
    const auto endpoint = ParseEndpoint("URL", url);
    ASSERT_FALSE(endpoint.ok()) << url;
    EXPECT_THAT(Message(endpoint.status()), HasSubstr("URL")) << url;
  }
  const auto secret = ParseEndpoint("URL", "http://user:secret@collector");
  EXPECT_THAT(Message(secret.status()), Not(HasSubstr("secret@")));
}

TEST(TracingOptionsTest, TheStandardVariablesAreRead) {
  const Environment environment(
      {{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:1"},
       {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:2"},
       {"OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%2Cb, X-Team = blue"},
       {"OTEL_SERVICE_NAME", "books"},
       {"OTEL_RESOURCE_ATTRIBUTES", "service.name=other,region=eu%20west"},
       {"OTEL_TRACES_SAMPLER", "traceidratio"},
       {"OTEL_TRACES_SAMPLER_ARG", "0.25"}});
  const auto plan = Prepare(FromStandardEnvironment());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->endpoint.target, "traces:2");
  EXPECT_THAT(plan->headers, ElementsAre(Pair("api-key", "a,b"), Pair("x-team", "blue")));
  EXPECT_THAT(plan->attributes,
              ElementsAre(Pair("region", "eu west"), Pair("service.name", "books")));
  EXPECT_FALSE(plan->sampling.parent_based);
  EXPECT_EQ(plan->sampling.ratio, 0.25);
}

TEST(TracingOptionsTest, WithoutVariablesEverythingOfNobodyElseIsTraced) {
  EXPECT_EQ(FromStandardEnvironment().endpoint, "");
  const auto plan = Prepare(Local());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_TRUE(plan->sampling.parent_based);
  EXPECT_EQ(plan->sampling.ratio, 1);
  EXPECT_THAT(plan->headers, IsEmpty());
  EXPECT_THAT(plan->attributes, ElementsAre(Pair("service.name", "fma-server")));
}

TEST(TracingOptionsTest, AnEndpointOfAnotherProtocolIsNotTaken) {
  for (const auto& [name, value] : std::vector<std::pair<std::string, std::string>>{
           {"OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"},
           {"OTEL_TRACES_EXPORTER", "none"},
           {"OTEL_SDK_DISABLED", "true"}}) {
    const Environment environment({{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1"}, {name, value}});
    const TracingOptions options = FromStandardEnvironment();
    EXPECT_EQ(options.endpoint, "") << name;
    EXPECT_THAT(options.why_not_standard, HasSubstr(name));
  }
  const Environment environment(
      {{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1"}, {"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"}});
  EXPECT_EQ(FromStandardEnvironment().endpoint, "http://c:1");
}

TEST(TracingOptionsTest, SamplersHaveTheirStandardNames) {
  struct Case {
    const char* name;
    bool parent_based;
    double ratio;
  };
  for (const Case& expected :
       {Case{"always_on", false, 1}, Case{"always_off", false, 0}, Case{"traceidratio", false, 0.5},
        Case{"parentbased_always_on", true, 1}, Case{"parentbased_always_off", true, 0},
        Case{"parentbased_traceidratio", true, 0.5}}) {
    const Environment environment({{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1"},
                                   {"OTEL_TRACES_SAMPLER", expected.name},
                                   {"OTEL_TRACES_SAMPLER_ARG", "0.5"}});
    TracingOptions options = FromStandardEnvironment();
    const auto plan = Prepare(options);
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(plan->sampling.parent_based, expected.parent_based) << expected.name;
    EXPECT_EQ(plan->sampling.ratio, expected.ratio) << expected.name;
    options.ratio = 0.125;
    EXPECT_EQ(Prepare(options)->sampling.ratio, 0.125) << "the option wins";
  }
}

TEST(TracingOptionsTest, BadVariablesAreNamed) {
  const auto refusal = [](std::string TracingOptions::*field, const std::string& value) {
    TracingOptions options = Local();
    options.sampler = "traceidratio";
    options.*field = value;
    return Message(Prepare(options).status());
  };
  EXPECT_THAT(refusal(&TracingOptions::sampler, "jaeger_remote"), HasSubstr("OTEL_TRACES_SAMPLER"));
  for (const char* ratio : {"x", "-0.1", "1.5", "nan"}) {
    EXPECT_THAT(refusal(&TracingOptions::sampler_argument, ratio),
                HasSubstr("OTEL_TRACES_SAMPLER_ARG"));
  }
  for (const char* headers : {"secret", "=secret", "a=%secret", "a=%4", "grpc-x=secret",
                              "a b=secret", "a=%0Asecret", "x-bin=secret"}) {
    EXPECT_THAT(refusal(&TracingOptions::headers, headers), HasSubstr("OTEL_EXPORTER_OTLP_HEADERS"))
        << headers;
    EXPECT_THAT(refusal(&TracingOptions::headers, headers), Not(HasSubstr("secret")));
  }
  EXPECT_THAT(refusal(&TracingOptions::attributes, "region"),
              HasSubstr("OTEL_RESOURCE_ATTRIBUTES"));
}

TEST(TracingOptionsTest, AuthoritiesAreReadAtTheStart) {
  const testing::TempFolder folder;
  TracingOptions options = Local();
  options.ca = (folder.path() / "missing.pem").string();
  EXPECT_THAT(Message(Prepare(options).status()), HasSubstr("otlp-ca"));
  options.ca = (folder.path() / "ca.pem").string();
  ASSERT_TRUE(testing::WriteFile(options.ca, "no certificate"));
  EXPECT_THAT(Message(Prepare(options).status()), HasSubstr("otlp-ca"));
}

}  // namespace
}  // namespace fmaserver::tracing
