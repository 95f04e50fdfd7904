// The language and its words. Every word on the pages stands in words.js, in both languages; a test holds them complete.
import { WORDS } from "./words.js";
import { FLEET_WORDS } from "./words_fleet.js";
import { PAGE_WORDS } from "./words_pages.js";

const ALL = { ...WORDS, ...PAGE_WORDS, ...FLEET_WORDS };
export const ISSUES = {
  "parking.motor": ["Illegally parked motor vehicle", "机动车乱停放"], "parking.non_motor": ["Badly parked bicycle or scooter", "非机动车乱停放"],
  "parking.fire_lane": ["Blocked fire lane", "占用消防通道"], "dumping.act": ["Illegal dumping, the act", "乱倒垃圾"],
  "dumping.exposed": ["Exposed garbage", "暴露垃圾"], "dumping.bin_overflow": ["Overflowing bin", "垃圾满溢"],
  "street_occupation.shopfront": ["Goods beyond the shop front", "店外经营"], "street_occupation.roadside": ["Roadside stall", "占道经营"],
  "vendor.unlicensed": ["Suspected vendor outside permitted point or time", "疑似无照经营游商"],
  "vendor.out_of_permit": ["Permitted vendor outside time or area", "便民点超时超区"],
};
let lang = localStorage.getItem("lang") || (navigator.language.startsWith("zh") ? "zh" : "en");
export const language = () => lang;
const column = () => (lang === "zh" ? 1 : 0);
export const t = (key) => ALL[key]?.[column()] ?? key;
export const issueName = (issue) => (ISSUES[issue] ?? [issue, issue])[column()];
export function setLanguage(next) { lang = next; localStorage.setItem("lang", next); apply(); }
export function apply() {
  document.documentElement.lang = lang === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
}
