#include <algorithm>
#include <array>
#include <iterator>

#include "model_loader/chat_template/function.h"
#include "model_loader/chat_template/template_error.h"

namespace fmaserver::chat {
namespace {

class Range final : public Function {
 public:
  Value Call(Frame& frame, const Arguments& arguments) const override {
    const Items bound = Bound("range", {"start", "stop", "step"}, arguments);
    const bool only_stop = bound[1].IsUndefined();
    const int64_t start = only_stop ? 0 : bound[0].Number("range");
    const int64_t stop = bound[only_stop ? 0 : 1].Number("range");
    const int64_t step = bound[2].IsUndefined() ? 1 : bound[2].Number("range");
    if (step == 0) throw TemplateError(0, "step of range", step, "other than 0");
    Items items;
    for (int64_t at = start; step > 0 ? at < stop : at > stop;) {
      frame.run().Step();
      items.emplace_back(at);
      if (__builtin_add_overflow(at, step, &at)) break;
    }
    return items;
  }
};

class MakeNamespace final : public Function {
 public:
  Value Call(Frame& frame, const Arguments& arguments) const override {
    if (!arguments.positional.empty()) {
      throw TemplateError(0, "argument of namespace", Words{"without a name"}, "name=value");
    }
    Namespace* space = frame.run().MakeNamespace();
    for (const auto& [name, value] : arguments.named) space->Set(name, value);
    return space;
  }
};

class RaiseException final : public Function {
 public:
  Value Call(Frame& /*frame*/, const Arguments& arguments) const override {
    const Items bound = Bound("raise_exception", {"message"}, arguments);
    throw TemplateError(
        0, Concat("the template refuses the messages: ", Quoted(bound[0].Printed().bytes())));
  }
};

class StrftimeNow final : public Function {
 public:
  Value Call(Frame& frame, const Arguments& arguments) const override {
    const Items bound = Bound("strftime_now", {"format"}, arguments);
    const MarkedText format = bound[0].Printed();
    const std::tm now = frame.run().Now();
    std::array<char, 256> text = {};
    const size_t size = std::strftime(text.data(), text.size(), format.bytes().c_str(), &now);
    if (size == 0 && format.size() > 0) {
      throw TemplateError(0, "time", Words{"longer"}, Concat("up to ", text.size(), " bytes"));
    }
    // What a message may have written stays a message's.
    const bool from_template =
        format.runs().size() == 1 && format.runs().front().origin == Origin::kTemplate;
    return MarkedText(std::string(text.data(), size),
                      from_template ? Origin::kTemplate : Origin::kMessage);
  }
};

}  // namespace

Items Function::Bound(std::string_view function, const std::vector<std::string_view>& parameters,
                      const Arguments& arguments) {
  if (arguments.positional.size() > parameters.size()) {
    throw TemplateError(0, Concat("number of arguments of ", function), arguments.positional.size(),
                        Concat("up to ", parameters.size()));
  }
  Items bound = arguments.positional;
  bound.resize(parameters.size());
  for (const auto& [name, value] : arguments.named) {
    const auto place = std::find(parameters.begin(), parameters.end(), name);
    if (place == parameters.end()) {
      throw TemplateError(0, Concat("argument of ", function), name, "names that it has");
    }
    bound[std::distance(parameters.begin(), place)] = value;
  }
  return bound;
}

const Function* FindFunction(std::string_view name) {
  static const Range kRange;
  static const MakeNamespace kNamespace;
  static const RaiseException kRaiseException;
  static const StrftimeNow kStrftimeNow;
  if (name == "range") return &kRange;
  if (name == "namespace") return &kNamespace;
  if (name == "raise_exception") return &kRaiseException;
  if (name == "strftime_now") return &kStrftimeNow;
  return nullptr;
}

}  // namespace fmaserver::chat
