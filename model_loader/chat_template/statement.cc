#include "model_loader/chat_template/statement.h"

#include <iterator>

#include "model_loader/chat_template/namespace.h"
#include "model_loader/chat_template/template_error.h"

namespace fmaserver::chat {
namespace {

Entry Named(std::string_view name, Value value) {
  return {MarkedText(std::string(name)), std::move(value)};
}

/// What a loop's body sees as "loop".
Value LoopValue(const Items& items, int64_t index) {
  const auto size = std::ssize(items);
  const bool first = index == 0;
  const bool last = index == size - 1;
  return Entries{Named("index", index + 1),
                 Named("index0", index),
                 Named("revindex", size - index),
                 Named("revindex0", size - index - 1),
                 Named("first", first),
                 Named("last", last),
                 Named("length", int64_t{size}),
                 Named("previtem", first ? Undefined{"previtem"} : items[index - 1]),
                 Named("nextitem", last ? Undefined{"nextitem"} : items[index + 1])};
}

}  // namespace

Flow RenderBlock(const Block& block, Frame& frame, MarkedText& out) {
  for (const auto& statement : block) {
    frame.run().Step();
    if (const Flow flow = statement->Render(frame, out); flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Flow TextStatement::Render(Frame& frame, MarkedText& out) const {
  frame.run().Touch(text_.size());
  out.Append(text_, Origin::kTemplate);
  return Flow::kNext;
}

Flow PrintStatement::Render(Frame& frame, MarkedText& out) const {
  const Value value = expression_->Evaluate(frame);
  const MarkedText text = value.Printed();
  frame.run().Touch(text.size());
  out.Append(text);
  return Flow::kNext;
}

Flow IfStatement::Render(Frame& frame, MarkedText& out) const {
  for (const auto& [condition, body] : branches_) {
    if (condition == nullptr || condition->Evaluate(frame).Truth()) {
      return RenderBlock(body, frame, out);
    }
  }
  return Flow::kNext;
}

void Target::Assign(Frame& frame, const Value& value) const {
  if (!space.empty()) {
    const Value* found = frame.Find(space);
    if (found == nullptr || found->space() == nullptr) {
      throw TemplateError(line, Quoted(space), Words{"no namespace"}, "one made by namespace()");
    }
    found->space()->Set(names.front(), value);
    return;
  }
  if (names.size() == 1) return frame.Set(names.front(), value);
  const Items items = Iterated(frame.run(), value);
  if (items.size() != names.size()) {
    throw TemplateError(line, "number of values for several names", items.size(),
                        Concat(names.size()));
  }
  for (size_t i = 0; i < items.size(); ++i) frame.Set(names[i], items[i]);
}

Items ForStatement::Chosen(Frame& frame) const {
  Items items = Iterated(frame.run(), parts_.items->Evaluate(frame));
  if (parts_.condition == nullptr) return items;
  Items chosen;
  for (Value& item : items) {
    frame.Push();
    parts_.target.Assign(frame, item);
    if (parts_.condition->Evaluate(frame).Truth()) chosen.push_back(std::move(item));
    frame.Pop();
  }
  return chosen;
}

Flow ForStatement::Render(Frame& frame, MarkedText& out) const {
  const Items items = Chosen(frame);
  for (int64_t i = 0; i < std::ssize(items); ++i) {
    frame.Push();
    parts_.target.Assign(frame, items[i]);
    frame.Set("loop", LoopValue(items, i));
    const Flow flow = RenderBlock(parts_.body, frame, out);
    frame.Pop();
    if (flow == Flow::kBreak) break;
  }
  return items.empty() ? RenderBlock(parts_.otherwise, frame, out) : Flow::kNext;
}

Flow SetStatement::Render(Frame& frame, MarkedText& /*out*/) const {
  target_.Assign(frame, value_->Evaluate(frame));
  return Flow::kNext;
}

Flow SetBlockStatement::Render(Frame& frame, MarkedText& /*out*/) const {
  MarkedText text;
  const Flow flow = RenderBlock(body_, frame, text);
  target_.Assign(frame, std::move(text));
  return flow;
}

MacroStatement::MacroStatement(Parts parts)
    : parts_(std::move(parts)), parameters_(parts_.parameters.begin(), parts_.parameters.end()) {}

Flow MacroStatement::Render(Frame& frame, MarkedText& /*out*/) const {
  frame.Set(parts_.name, static_cast<const Function*>(this));
  return Flow::kNext;
}

Value MacroStatement::Call(Frame& frame, const Arguments& arguments) const {
  const Items bound = Bound(parts_.name, parameters_, arguments);
  frame.run().Enter();
  Frame own(frame.run(), frame.top());
  own.Push();
  for (size_t i = 0; i < bound.size(); ++i) {
    const ExpressionPtr& otherwise = parts_.defaults[i];
    const bool is_default = bound[i].IsUndefined() && otherwise != nullptr;
    own.Set(parameters_[i], is_default ? otherwise->Evaluate(own) : bound[i]);
  }
  MarkedText text;
  RenderBlock(parts_.body, own, text);
  frame.run().Leave();
  return text;
}

Flow PlainBlockStatement::Render(Frame& frame, MarkedText& out) const {
  return RenderBlock(body_, frame, out);
}

}  // namespace fmaserver::chat
