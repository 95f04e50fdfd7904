// Every word on the pages, in both languages; a test holds them complete.
export const STRINGS = {
  en: {
    skip: "To the verdict", keys: "Keys", logout: "Log out", login: "Log in", username: "User name", password: "Password",
    offline: "No connection to the centre. Nothing is lost; this page tries again by itself.",
    wrong: "Wrong name or password", queue: "Queue", waiting: "waiting", confirm: "Confirm", reject: "Reject", unsure: "Unsure", undo: "Undo",
    play: "Play / pause", close: "Close", cancel: "Cancel", otherWhy: "Why is it no case?", scrub: "Position in the clip", speed: "Speed",
    empty: "Nothing waits for review", emptyHint: "New cases appear here by themselves. No box yet? Enrol one: curbwatch api device add NAME, then curbwatch edge run box.yaml.",
    context: "Context", first: "First", middle: "Middle", confirmShot: "Confirmed", crop: "Crop", clip: "Clip",
    issue: "Issue", zone: "Zone", street: "Street class", dwell: "Dwell", camera: "Camera", first_seen: "First seen", confirmed_at: "Confirmed",
    place: "Place", error: "Error, 95 %", rule: "Rule", model: "Model", permit: "Permit", deadline: "Deadline", clock: "Clock", state: "State", count: "Objects",
    prohibit: "prohibited", control: "controlled", regulate: "regulated", camera_point: "camera's own point", homography: "ground plane",
    askReason: "Reject: why? Press 1 to 9, Esc goes back.", map: "Map of the place", picture: "Picture of the case", strip: "Pictures of the dwell",
    saidConfirm: "confirmed", saidReject: "rejected", saidUnsure: "goes to a second reader", saidUndo: "verdict taken back", noUndo: "too late to take back",
    r1: "not this class", r2: "permitted place or time", r3: "moving or temporary", r4: "inside the shop", r5: "authorised vehicle or works",
    r6: "duplicate", r7: "picture unusable", r8: "camera moved", r9: "other, in words",
    kNext: "next case", kPrev: "case before", kFrame: "one frame back or on", kSheet: "this sheet", lang: "中文",
  },
  zh: {
    skip: "跳到裁决", keys: "按键", logout: "退出", login: "登录", username: "用户名", password: "密码",
    offline: "与中心的连接已断开。数据没有丢失，页面会自动重试。",
    wrong: "用户名或密码错误", queue: "待审队列", waiting: "件待审", confirm: "确认", reject: "驳回", unsure: "存疑", undo: "撤销",
    play: "播放 / 暂停", close: "关闭", cancel: "取消", otherWhy: "为什么不成立？", scrub: "片段位置", speed: "速度",
    empty: "没有待审案件", emptyHint: "新案件会自动出现。还没有边缘设备？先登记：curbwatch api device add NAME，再运行 curbwatch edge run box.yaml。",
    context: "全景", first: "首次", middle: "中间", confirmShot: "确认时", crop: "特写", clip: "视频",
    issue: "类别", zone: "区域", street: "街道等级", dwell: "停留时长", camera: "摄像机", first_seen: "首次发现", confirmed_at: "确认时间",
    place: "位置", error: "95% 误差", rule: "规则", model: "模型", permit: "许可", deadline: "期限", clock: "时钟", state: "状态", count: "数量",
    prohibit: "严禁", control: "严控", regulate: "规范", camera_point: "摄像机位置", homography: "地面标定",
    askReason: "驳回原因？按 1 到 9，Esc 返回。", map: "位置地图", picture: "案件图片", strip: "停留过程图片",
    saidConfirm: "已确认", saidReject: "已驳回", saidUnsure: "转二次复核", saidUndo: "裁决已撤销", noUndo: "已超过撤销时间",
    r1: "不是此类", r2: "许可的地点或时间", r3: "移动中或临时", r4: "店内经营", r5: "授权车辆或施工",
    r6: "重复", r7: "图片无法使用", r8: "摄像机移位", r9: "其他，请说明",
    kNext: "下一件", kPrev: "上一件", kFrame: "前后一帧", kSheet: "按键说明", lang: "English",
  },
};
export const ISSUES = {
  "street_occupation.shopfront": ["Goods beyond the shop front", "店外经营"], "street_occupation.roadside": ["Roadside stall", "占道经营"],
  "vendor.unlicensed": ["Suspected vendor outside permitted point or time", "疑似无照经营游商"],
  "vendor.out_of_permit": ["Permitted vendor outside time or area", "便民点超时超区"], "dumping.act": ["Illegal dumping, the act", "乱倒垃圾"],
  "dumping.exposed": ["Exposed garbage", "暴露垃圾"], "dumping.bin_overflow": ["Overflowing bin", "垃圾满溢"],
  "parking.motor": ["Illegally parked motor vehicle", "机动车乱停放"], "parking.non_motor": ["Badly parked bicycle or scooter", "非机动车乱停放"],
  "parking.fire_lane": ["Blocked fire lane", "占用消防通道"],
};
let lang = localStorage.getItem("lang") || (navigator.language.startsWith("zh") ? "zh" : "en");
export const language = () => lang;
export const t = (key) => STRINGS[lang][key] ?? key;
export const issueName = (issue) => (ISSUES[issue] ?? [issue, issue])[lang === "zh" ? 1 : 0];
export function setLanguage(next) { lang = next; localStorage.setItem("lang", next); apply(); }
export function apply() {
  document.documentElement.lang = lang === "zh" ? "zh-CN" : "en";
  for (const el of document.querySelectorAll("[data-t]")) el.textContent = t(el.dataset.t);
}
